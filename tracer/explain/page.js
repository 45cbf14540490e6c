"use strict";
const tools = document.querySelector(".tools");
const rows = document.querySelector(".rows");
let turn = 0;
const open = (selector, isOpen) => {
  cancelAnimationFrame(turn); // what was asked before may still be under way
  const left = [...rows.querySelectorAll(selector)].filter((one) => one.open !== isOpen);
  const some = () => {
    left.splice(0, 25).forEach((one) => (one.open = isOpen)); // all at once would hold the page where there are hundreds
    if (left.length) turn = requestAnimationFrame(some);
  };
  some();
};
tools.hidden = false;
document.getElementById("expand").addEventListener("click", () => open("details", true));
document.getElementById("collapse").addEventListener("click", () => open("details.row", false));

rows.addEventListener("keydown", (event) => {
  const item = event.target.closest("summary")?.closest("li");
  if (!item || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const row = (one) => one?.querySelector(":scope > .row > summary");
  const below = item.querySelector(":scope > .below");
  const step = (by) => {
    const seen = [...rows.querySelectorAll(".row > summary")].filter((one) => !one.closest(".below:not([open])"));
    return seen[seen.indexOf(row(item)) + by];
  };
  let next = null;
  if (event.key === "ArrowDown") next = step(1);
  else if (event.key === "ArrowUp") next = step(-1);
  else if (event.key === "ArrowRight" && below?.open) next = step(1);
  else if (event.key === "ArrowRight" && below) below.open = true;
  else if (event.key === "ArrowLeft" && below?.open) below.open = false;
  else if (event.key === "ArrowLeft") next = row(item.parentElement.closest("li"));
  else return;
  event.preventDefault();
  next?.focus();
});
