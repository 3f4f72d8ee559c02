// The colour of an arm: by its number, so that it is the same on every screen and does not change when others come or go.
//
// Each has a contrast of 3:1 or more against both backgrounds, and the first of them differ for colour-blind eyes, too (a test
// computes both). Beyond the eighth arm colours come again, with the arm's name beside them everywhere.
export const PALETTE = ["#2f7fd1", "#d55e00", "#638046", "#b2478f", "#7a7f8c", "#009e73", "#8c624d", "#793df2"];

export const colourOf = (number) => PALETTE[number % PALETTE.length];
