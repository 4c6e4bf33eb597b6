"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const choices = [];

// mulberry32: the order depends on the seed and the place alone, so that it is the same when the page is opened again.
function flipped(place) {
  let t = (data.seed + (place + 1) * 0x6d2b79f5) | 0;
  t = Math.imul(t ^ (t >>> 15), t | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return ((t ^ (t >>> 14)) & 1) === 1;
}

function show() {
  const place = choices.length, over = place === data.cases.length;
  at("vote").hidden = over;
  at("end").hidden = !over;
  if (over) return;
  const design = data.cases[place], order = flipped(place) ? [1, 0] : [0, 1];
  at("place").textContent = `${place + 1} of ${data.cases.length}`;
  at("task").textContent = design.task;
  at("prompt").textContent = design.prompt;
  at("given-side").hidden = design.given === null;
  if (design.given !== null) at("given").src = design.given;
  for (const [side, number] of [["left", order[0]], ["right", order[1]]]) {
    at(side).src = design.pictures[number];
    at(`${side}-layers`).src = design.layers[number];
  }
  at("back").disabled = place === 0;
}

function choose(choice) {
  if (choices.length === data.cases.length) return;
  const swapped = flipped(choices.length);
  choices.push(choice === 0 ? null : (choice === 1) === swapped ? 1 : 0);
  show();
}

function back() {
  choices.pop();
  show();
}

function counts() {
  const of = (wanted) => choices.filter((choice) => choice === wanted).length;
  return [of(0), of(1), of(null)];
}

// Votes are final from here on: who knows the names does not judge blindly.
function reveal() {
  at("before").hidden = true;
  at("after").hidden = false;
  const names = [...data.names, "neither"];
  at("tally").replaceChildren(...counts().map((count, number) => {
    const row = document.createElement("tr");
    for (const [kind, text] of [["th", names[number]], ["td", count], ["td", `${Math.round((100 * count) / choices.length)} %`]]) {
      const cell = document.createElement(kind);
      cell.textContent = text;
      row.append(cell);
    }
    return row;
  }));
}

function votes() {
  const named = (choice) => (choice === null ? null : data.names[choice]);
  const each = data.cases.map((design, place) => ({
    task: design.task, which: design.which, key: design.key,
    left: data.names[flipped(place) ? 1 : 0], preferred: named(choices[place]),
  }));
  const [one, other, neither] = counts();
  return { seed: data.seed, names: data.names, tally: [one, other], neither, votes: each };
}

function save() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(votes(), null, 1)], { type: "application/json" }));
  link.download = "votes.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

document.querySelectorAll("[data-choice]").forEach((button) => {
  button.addEventListener("click", () => choose(Number(button.dataset.choice)));
});
at("back").addEventListener("click", back);
at("again").addEventListener("click", back);
at("reveal").addEventListener("click", reveal);
at("save").addEventListener("click", save);
document.addEventListener("keydown", (event) => {
  if (["0", "1", "2"].includes(event.key) && !event.ctrlKey && !event.metaKey && !event.altKey && !event.repeat) choose(Number(event.key));
});
show();
