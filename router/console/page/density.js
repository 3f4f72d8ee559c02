// The density of what is known of an arm's value per prediction, from the numbers that the state shows.
//
// Binary rewards: the learner's posterior of the rate is normal on the logit scale, and its interval is the middle ± 1.96
// standard deviations there, so both ends give it back exactly. Others are normal on the reward's own scale.

const Z95 = 1.959964;
const POINTS = 200;
// Beyond it nothing can be seen.
const TAIL = 3.6;
// Of the height of a picture, less than a line is wide.
const SEEN = 0.004;

const logit = (rate) => Math.log(rate / (1 - rate));
const expit = (eta) => 1 / (1 + Math.exp(-eta));
const bell = (z) => Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI);

// Return { value(z), from, to, at(value) }: the value z standard deviations from the middle, where the density is seen, and its
// height there; null where nothing is known.
export function densityOf(arm, rewardType, valueUsd) {
  const { value_usd: value, value_usd_low: low, value_usd_high: high, prediction_cost_usd: cost } = arm;
  if (value === null || low === null || high === null || !(high > low)) return null;
  const rates = [low, high].map((end) => (end + cost) / valueUsd);
  if (rewardType === "binary" && rates[0] > 0 && rates[1] < 1) {
    const [a, b] = rates.map(logit);
    const middle = (a + b) / 2;
    const spread = (b - a) / (2 * Z95);
    const worth = (rate) => valueUsd * rate - cost;
    return {
      value: (z) => worth(expit(middle + z * spread)),
      from: worth(expit(middle - TAIL * spread)),
      to: worth(expit(middle + TAIL * spread)),
      at(u) {
        const rate = (u + cost) / valueUsd;
        if (rate <= 0 || rate >= 1) return 0;
        return bell((logit(rate) - middle) / spread) / (spread * rate * (1 - rate) * valueUsd);
      },
    };
  }
  const middle = (low + high) / 2;
  const spread = (high - low) / (2 * Z95);
  return { value: (z) => middle + z * spread, from: middle - TAIL * spread, to: middle + TAIL * spread, at: (u) => bell((u - middle) / spread) / spread };
}

// Return { from, to, curves }: the values per million predictions that are seen, and of each arm its points [value, height], 1 at
// its highest, or null; null when nothing is known of any arm.
export function densities(arms, rewardType, valueUsd) {
  const curves = arms.map((arm) => visible(densityOf(arm, rewardType, valueUsd)));
  const values = curves.flatMap((points) => points?.map(([value]) => value) ?? []);
  return values.length === 0 ? null : { from: Math.min(...values), to: Math.max(...values), curves };
}

// Points that are close together where the curve is steep. All are as high as one another: a narrow one is a hundred times as
// high as a wide one, and together they would not fit into one picture.
function visible(one) {
  if (!one) return null;
  const points = Array.from({ length: POINTS + 1 }, (_, step) => one.value(TAIL * ((2 * step) / POINTS - 1))).map((u) => [u, one.at(u)]);
  const top = Math.max(...points.map(([, height]) => height));
  return points.filter(([, height]) => height > SEEN * top).map(([u, height]) => [u * 1e6, height / top]);
}
