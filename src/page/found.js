// The moments that are on the screen, whichever view shows them: the player goes through them, and keys act on them.

/// Says `found` when they are others.
export const finds = new EventTarget();

let shown = [];

/// In the order in which they are shown.
export const moments = () => shown;

export function shows(moments) {
  shown = moments;
  finds.dispatchEvent(new Event("found"));
}
