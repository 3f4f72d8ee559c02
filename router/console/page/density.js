// The density of what is known of an arm's value per prediction, from the numbers that the state shows.
//
// Binary rewards: the learner's posterior of the rate is normal on the logit scale, and its interval is the middle ± 1.96
// standard deviations there, so both ends give it back exactly. Others are normal on the reward's own scale.

const Z95 = 1.959964;
const POINTS = 200;
// Beyond it nothing can be seen.
const TAIL = 3.6;

const logit = (rate) => Math.log(rate / (1 - rate));
const expit = (eta) => 1 / (1 + Math.exp(-eta));
const bell = (z) => Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI);

// Return { from, to, at(value) }: where the density is seen, and its height there; null where nothing is known.
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
  return { from: middle - TAIL * spread, to: middle + TAIL * spread, at: (u) => bell((u - middle) / spread) / spread };
}

// Return { values, heights }: values per million predictions, and each arm's density at them, 1 at its highest and null where
// it can't be seen; null when nothing is known of any arm.
export function densities(arms, rewardType, valueUsd) {
  const known = arms.map((arm) => densityOf(arm, rewardType, valueUsd));
  const seen = known.filter(Boolean);
  if (seen.length === 0) return null;
  const from = Math.min(...seen.map((one) => one.from));
  const to = Math.max(...seen.map((one) => one.to));
  // A narrow one among wide ones needs points of its own.
  const values = new Set();
  const spread = (start, end) => {
    for (let step = 0; step <= POINTS; step += 1) values.add(start + ((end - start) * step) / POINTS);
  };
  spread(from, to);
  for (const one of seen) spread(one.from, one.to);
  const grid = [...values].sort((a, b) => a - b);
  const heights = known.map((one) => grid.map((u) => (one && u >= one.from && u <= one.to ? one.at(u) : null)));
  // Together they would not fit into one picture: a narrow one is a hundred times as high as a wide one.
  const scaled = heights.map((row) => {
    const top = Math.max(...row.map((height) => height ?? 0));
    return row.map((height) => (height === null || top === 0 ? null : height / top));
  });
  return { values: grid.map((u) => u * 1e6), heights: scaled };
}
