// The report's page script. State lives in location.hash: #design=<id>&view=<view>&layers=<0,2>&group=<n>&layer=<n>
"use strict";

const cards = JSON.parse(document.getElementById("data").textContent);
const byId = new Map(cards.map((card, position) => [card.id, position]));
const VIEWS = ["stack", "layout", "exploded", "compare"];
const $ = (id) => document.getElementById(id);
const dialog = $("detail");
let opened = null; // id of the design whose DOM is built
let parts = {}; // nodes of the open design: canvas, layers[], rows[], groups[]
let opener = null; // what had the focus before the dialog

// ---- small helpers: every text goes in as a text node, never as markup

function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [event, handler] of Object.entries(value)) node.addEventListener(event, handler);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

const bdi = (text, attributes = {}) => el("bdi", attributes, String(text));
const picture = (path, alt = "") => el("img", { src: path, alt, decoding: "async", draggable: "false" });
const percent = (share) => (share > 0 && share < 0.001 ? "< 0.1%" : `${+(100 * share).toFixed(1)}%`);
const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
const hue = (index) => Math.round((index * 137.508 + 222) % 360);

// ---- state

function readState() {
  const query = new URLSearchParams(location.hash.slice(1));
  if (!query.has("design")) return null;
  const numbers = (text) => text.split(",").filter((part) => /^\d{1,5}$/.test(part)).map(Number);
  const view = query.get("view");
  const single = (name) => (query.has(name) ? (numbers(query.get(name))[0] ?? null) : null);
  return {
    id: query.get("design"),
    view: VIEWS.includes(view) ? view : "stack",
    layers: query.has("layers") ? new Set(numbers(query.get("layers"))) : null,
    group: single("group"),
    layer: single("layer"),
  };
}

function toHash(state) {
  let hash = `#design=${encodeURIComponent(state.id)}`;
  if (state.view !== "stack") hash += `&view=${state.view}`;
  if (state.layers) hash += `&layers=${[...state.layers].sort((a, b) => a - b).join(",")}`;
  if (state.group !== null) hash += `&group=${state.group}`;
  if (state.layer !== null) hash += `&layer=${state.layer}`;
  return hash;
}

function change(changes) {
  const state = { ...readState(), ...changes };
  history.replaceState(null, "", toHash(state));
  render();
}

function go(id) {
  const state = readState();
  const view = state ? state.view : "stack";
  history.replaceState(null, "", toHash({ id, view, layers: null, group: null, layer: null }));
  render();
}

function close() {
  history.replaceState(null, "", location.pathname + location.search + "#");
  render();
}

function step(by) {
  const state = readState();
  if (!state || !cards.length) return;
  go(cards[(byId.get(state.id) + by + cards.length) % cards.length].id);
}

// ---- rendering

function render() {
  const state = readState();
  if (!state) {
    if (dialog.open) dialog.close();
    document.documentElement.classList.remove("locked");
    const back = opener ?? (opened && document.querySelector(`a.card[data-id="${opened}"]`));
    opened = opener = null;
    if (back) back.focus();
    return;
  }
  if (!byId.has(state.id)) {
    toast(`Design ${state.id.slice(0, 40)} is not in this gallery.`);
    if (dialog.open) dialog.close();
    return;
  }
  if (opened !== state.id) {
    build(cards[byId.get(state.id)]);
    opened = state.id;
  }
  if (!dialog.open) {
    opener = document.activeElement !== document.body ? document.activeElement : null;
    dialog.showModal();
    document.documentElement.classList.add("locked");
  }
  if (parts.canvas) apply(state);
  fit();
}

function toast(text) {
  const node = $("toast");
  node.textContent = text;
  node.hidden = false;
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => (node.hidden = true), 6000);
}

/** Build the DOM of one design; what changes with the state is left to apply(). */
function build(card) {
  const position = byId.get(card.id);
  $("d-title").replaceChildren(bdi(card.title));
  $("d-sub").replaceChildren(bdi(card.caption || card.error || ""));
  $("d-position").textContent = `${position + 1} / ${cards.length}`;
  parts = {};
  if (card.error !== undefined) {
    $("d-fit").replaceChildren(el("p", { class: "broken" }, "This design cannot be read."));
    $("d-side").replaceChildren(facts([["Why", bdi(card.error)], ["Design", mono(card.id)], ["Shard", mono(card.shard)]]));
    return;
  }
  parts = { card, layers: [], rows: [], groups: [] };
  buildCanvas(card);
  buildCompare(card);
  $("d-fit").replaceChildren(parts.canvas, parts.compare);
  $("d-side").replaceChildren(...side(card));
  $("d-side").scrollTop = 0;
}

function place(node, box, canvas) {
  node.style.left = `${(100 * box[0]) / canvas.width}%`;
  node.style.top = `${(100 * box[1]) / canvas.height}%`;
  node.style.width = `${(100 * (box[2] - box[0])) / canvas.width}%`;
  node.style.height = `${(100 * (box[3] - box[1])) / canvas.height}%`;
}

function buildCanvas(card) {
  const { canvas, visible, layers } = card.record;
  parts.canvas = el("div", { class: "canvas checker", id: "d-canvas", role: "img", "aria-label": `${plural(layers.length, "layer")} of ${card.title}` });
  layers.forEach((layer, index) => {
    const node = el("div", { class: "layer", "data-layer": layer.index }, picture(card.layers[index]), el("span", { class: "box" }, el("span", { class: "index" }, String(layer.index))));
    place(node, layer.box, canvas);
    node.style.setProperty("--hue", hue(layer.index));
    node.style.setProperty("--z", index - (layers.length - 1) / 2);
    parts.layers.push(node);
  });
  const frame = el("div", { class: "visible" });
  place(frame, visible, canvas);
  frame.style.setProperty("--z", -(layers.length - 1) / 2);
  parts.canvas.append(...parts.layers, frame);
}

function buildCompare(card) {
  const { recomposition } = card.record;
  const pane = (label, ...pictures) => el("figure", {}, el("div", { class: pictures.length > 1 ? "pair difference" : "pair checker" }, ...pictures.map((path) => el("div", {}, picture(path, label)))), el("figcaption", {}, label));
  parts.compare = el("div", { class: "compare" },
    pane(recomposition.reference === "preview" ? "The document's preview" : "A full render of the document", card.preview),
    pane("Composed from the layers", card.recomposite),
    pane("Difference × 8", card.preview, card.recomposite));
}

/** Show the state: which layers are on, the view, the grouping, the selected layer. */
function apply(state) {
  const { card } = parts;
  const grouping = card.record.groupings[state.group];
  const partOf = new Map();
  if (grouping) grouping.parts.forEach((part, number) => part.length > 1 && part.forEach((index) => partOf.set(index, number)));
  dialog.dataset.view = state.view;
  dialog.classList.toggle("grouped", Boolean(grouping));
  for (const button of $("d-views").children) button.setAttribute("aria-pressed", String(button.dataset.view === state.view));
  parts.groups.forEach((button, number) => button.setAttribute("aria-pressed", String(number === state.group)));
  card.record.layers.forEach((layer, position) => {
    const on = !state.layers || state.layers.has(layer.index);
    const node = parts.layers[position], row = parts.rows[position];
    const part = partOf.get(layer.index);
    node.hidden = !on;
    for (const target of [node, row.item]) {
      target.classList.toggle("in-part", part !== undefined);
      target.style.setProperty("--hue", part === undefined ? hue(layer.index) : hue(part));
    }
    row.part.textContent = part === undefined ? "" : `part ${part + 1}`;
    row.toggle.checked = on;
    row.item.classList.toggle("off", !on);
    row.solo.setAttribute("aria-pressed", String(Boolean(state.layers) && state.layers.size === 1 && on));
    const selected = state.layer === layer.index;
    node.classList.toggle("selected", selected);
    row.name.setAttribute("aria-expanded", String(selected));
    row.details.hidden = !selected;
  });
}

/** Scale the canvas to the room there is; the exploded view is turned, so its outline is that of the turned stack. */
function fit() {
  if (!parts.canvas) return;
  const room = $("d-fit").getBoundingClientRect();
  const { width, height } = parts.card.record.canvas;
  fitCompare(room);
  let factor = Math.min((room.width - 32) / width, (room.height - 32) / height);
  if (dialog.dataset.view === "exploded") {
    const steps = Math.max(1, parts.layers.length - 1);
    const gap = Math.min(90, (0.5 * room.height) / steps);
    const rise = steps * gap * Number($("d-spread").value) / 50 * 0.81;
    dialog.style.setProperty("--gap", `${gap}px`);
    factor = Math.min((room.width - 60) / (0.83 * width + 0.56 * height), Math.max(0.3 * room.height, room.height - 60 - rise) / (0.59 * (0.56 * width + 0.83 * height)));
  }
  parts.canvas.style.width = `${Math.max(1, width * factor)}px`;
  parts.canvas.style.height = `${Math.max(1, height * factor)}px`;
  parts.canvas.classList.toggle("pixelated", factor >= 3);
}

/** One pane beside the other where that leaves them larger than one below the other. */
function fitCompare(room) {
  const [x0, y0, x1, y1] = parts.card.record.visible;
  const width = x1 - x0, height = y1 - y0;
  const [gap, caption] = [18, 36];
  const beside = Math.min((room.width - 4 * gap) / 3 / width, (room.height - 2 * gap - caption) / height);
  const below = Math.min((room.width - 2 * gap) / width, ((room.height - 4 * gap) / 3 - caption) / height);
  const narrow = room.width < 620;
  const factor = narrow ? Math.min((room.width - 2 * gap) / width, (room.height - 2 * gap - caption) / height) : Math.max(beside, below);
  parts.compare.classList.toggle("below", narrow || below > beside);
  parts.compare.classList.toggle("pixelated", factor >= 3);
  parts.compare.style.setProperty("--across", `${Math.max(1, width * factor)}px`);
}

// ---- the side panel

function side(card) {
  return [layerPanel(card), failingPanel(card), captionPanel(card), restylePanel(card), factPanel(card)].filter(Boolean);
}

function section(title, ...children) {
  return el("section", {}, el("h3", {}, title), ...children);
}

function layerPanel(card) {
  const { layers, groupings } = card.record;
  parts.rows = layers.map((layer, position) => layerRow(card, layer, card.layers[position]));
  parts.groups = groupings.map((grouping, number) =>
    el("button", { type: "button", class: "pill", title: `seed ${grouping.seed}`, on: { click: () => change({ group: readState().group === number ? null : number }) } },
      `${number + 1}: ${plural(grouping.parts.length, "part")}`));
  return el("section", { class: "layer-panel" },
    el("div", { class: "panel-head" }, el("h3", {}, plural(layers.length, "layer")),
      el("button", { type: "button", class: "pill", id: "d-all", on: { click: () => change({ layers: null }) } }, "All on"),
      el("button", { type: "button", class: "pill", id: "d-none", on: { click: () => change({ layers: new Set() }) } }, "All off")),
    parts.groups.length ? el("div", { class: "groups", role: "group", "aria-label": "Groupings" }, el("span", { class: "quiet" }, "Groupings"), ...parts.groups) : null,
    el("ol", { class: "rows-of-layers", id: "d-layers" }, ...parts.rows.map((row) => row.item).reverse()));
}

function layerRow(card, layer, path) {
  const row = {};
  const index = layer.index;
  row.toggle = el("input", { type: "checkbox", "aria-label": `Show layer ${index}`, on: { change: () => toggle(index) } });
  row.solo = el("button", { type: "button", class: "solo", title: "Show this layer alone", "aria-label": `Show layer ${index} alone`, on: { click: () => solo(index) } }, "solo");
  row.part = el("span", { class: "part" });
  const tags = [el("span", { class: "tag" }, layer.kind)];
  if (layer.lowering !== "exact") tags.push(el("span", { class: `tag${layer.reusable ? "" : " warn"}` }, layer.lowering.replaceAll("_", " ")));
  if (layer.overflow.share > 0) tags.push(el("span", { class: "tag" }, `overflow ${percent(layer.overflow.share)}`));
  row.name = el("button", { type: "button", class: "name", on: { click: () => change({ layer: readState().layer === index ? null : index }) } },
    el("span", { class: "thumb checker" }, picture(path)),
    el("span", { class: "words" }, el("span", { class: "line" }, el("span", { class: "index" }, String(index)), bdi(layer.name || "unnamed")), el("span", { class: "tags" }, ...tags, row.part)));
  row.details = layerDetails(layer);
  row.item = el("li", { class: "layer-row", "data-layer": index, on: { pointerenter: () => peek(index), pointerleave: () => peek(null) } },
    el("div", { class: "layer-line" }, row.toggle, row.name, row.solo), row.details);
  return row;
}

function layerDetails(layer) {
  const { overflow } = layer;
  const out = ["left", "top", "right", "bottom"].filter((edge) => overflow[edge] > 0).map((edge) => `${overflow[edge]} px ${edge}`);
  const rows = [
    ["Caption", layer.caption && [bdi(layer.caption.text), " ", quiet(layer.caption.source)]],
    ["Text", layer.text && typography(layer.text)],
    ["Box", `${layer.box.join(", ")} (${layer.box[2] - layer.box[0]} × ${layer.box[3] - layer.box[1]} px)`],
    ["Overflow", out.length ? `${out.join(", ")} (${percent(overflow.share)} of its alpha)` : null],
    ["Blending", `${layer.blend_mode}, opacity ${percent(layer.opacity)}`],
    ["Effects", layer.effects.length ? bdi(layer.effects.join(", ")) : null],
    ["Lowering", [layer.lowering.replaceAll("_", " "), ...layer.lowering_notes.map((note) => el("div", { class: "quiet" }, bdi(note)))]],
    ["Reusable", layer.reusable ? "yes" : "no: colour of the backdrop is baked in"],
    ["Stands for", plural(layer.leaves, "source layer") + (layer.cropped ? ", cropped to the largest canvas" : "")],
    ["Coverage", percent(layer.coverage)],
    ["sha256", mono(layer.sha256)],
  ];
  const node = facts(rows);
  node.hidden = true;
  return node;
}

function typography(text) {
  const about = [text.alignment, text.direction !== "ltr" && text.direction, text.language, text.rotation && `rotated ${+text.rotation.toFixed(1)}°`, text.warped && "warped"].filter(Boolean);
  return el("div", { class: "runs" }, ...text.runs.map((run) => {
    const style = [run.font, run.size && `${+run.size.toFixed(1)} px`, run.weight, run.italic && "italic", run.underline && "underline", run.strikethrough && "struck", run.caps !== "normal" && `${run.caps} caps`, run.tracking && `tracking ${run.tracking}`, run.leading && `leading ${+run.leading.toFixed(1)}`].filter(Boolean);
    const swatch = run.colour ? el("span", { class: "swatch", title: run.colour }) : null;
    if (swatch) swatch.style.backgroundColor = run.colour;
    return el("div", {}, el("div", { class: "run", lang: text.language, dir: "auto" }, run.text), el("div", { class: "quiet" }, swatch, bdi(style.join(" · "))));
  }), about.length ? el("div", { class: "quiet" }, bdi(about.join(" · "))) : null);
}

function failingPanel(card) {
  return card.failing.length ? section("Failing expectations", el("ul", { class: "plain bad-text" }, ...card.failing.map((name) => el("li", {}, bdi(name))))) : null;
}

function captionPanel(card) {
  const { captions } = card.record;
  const entry = (length) => ([language, caption]) => el("div", { class: "caption" }, el("p", { lang: language, dir: "auto" }, caption.text), el("p", { class: "quiet" }, `${length} · `, bdi(language), " · ", bdi(caption.source)));
  const all = [...Object.entries(captions.short).map(entry("short")), ...Object.entries(captions.long).map(entry("long"))];
  return all.length ? section("Captions", ...all) : null;
}

function restylePanel(card) {
  const { restyles } = card.record;
  if (!restyles.length) return null;
  return section("Restyle pairs", ...restyles.map((pair, number) => {
    const donor = pair.donor ? [" from ", designLink(pair.donor), pair.donor_layer !== null ? ` layer ${pair.donor_layer}` : ""] : [];
    const scores = Object.entries(pair.scores).map(([name, value]) => `${name} ${+value.toFixed(3)}`).join(" · ");
    return el("figure", { class: "restyle" },
      el("div", { class: "twins" }, el("div", { class: "checker" }, picture(card.layers[pair.layer], `layer ${pair.layer}`)), el("div", { class: "checker" }, picture(card.restyles[number], `layer ${pair.layer} in another style`))),
      el("figcaption", {}, `Layer ${pair.layer}, `, bdi(pair.method), ...donor, scores ? el("div", { class: "quiet" }, bdi(scores)) : null));
  }));
}

function factPanel(card) {
  const { record } = card;
  const { licence, provenance, recomposition, canvas, visible } = record;
  const uri = card.link ? el("a", { href: provenance.uri, rel: "noopener noreferrer nofollow" }, bdi(provenance.uri)) : bdi(provenance.uri);
  return section("Facts", facts([
    ["Licence", bdi(licence.id)],
    ["Licensor", bdi(licence.licensor)],
    ["Expires", licence.expires && bdi(licence.expires)],
    ["Source", uri],
    ["Source sha256", mono(provenance.sha256)],
    ["Format", bdi(`${provenance.format}, ${provenance.colour_mode} ${provenance.depth} bit, ${plural(provenance.source_layers, "source layer")}, ${provenance.bytes.toLocaleString("en")} bytes`)],
    ["Family", bdi(provenance.family)],
    ["Tags", provenance.tags.length ? bdi(provenance.tags.join(", ")) : null],
    ["Canvas", `${canvas.width} × ${canvas.height} px`],
    ["Visible box", `${visible.join(", ")} (${visible[2] - visible[0]} × ${visible[3] - visible[1]} px)`],
    ["Scale", provenance.scale < 1 ? percent(provenance.scale) : null],
    ["Recomposition", `against the ${recomposition.reference}: mean ${recomposition.mae.toFixed(3)}, p99 ${recomposition.p99.toFixed(1)} of 255`],
    ["Split", bdi(card.split)],
    ["Shard", mono(card.shard)],
    ["Design", mono(card.id)],
  ]));
}

function facts(rows) {
  const kept = rows.filter(([, value]) => value !== null && value !== undefined && value !== "" && value !== false);
  return el("dl", { class: "facts-list" }, ...kept.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, ...[value].flat()))));
}

const mono = (text) => el("span", { class: "mono" }, String(text));
const quiet = (text) => el("span", { class: "quiet" }, bdi(text));
const designLink = (id) => (byId.has(id) ? el("a", { class: "mono", href: `#design=${id}` }, id.slice(0, 12)) : mono(id.slice(0, 12)));

// ---- what the reviewer does

function toggle(index) {
  const state = readState();
  const all = parts.card.record.layers.map((layer) => layer.index);
  const layers = state.layers ? new Set(state.layers) : new Set(all);
  if (!layers.delete(index)) layers.add(index);
  change({ layers: all.every((other) => layers.has(other)) ? null : layers });
}

function solo(index) {
  const { layers } = readState();
  change({ layers: layers && layers.size === 1 && layers.has(index) ? null : new Set([index]) });
}

function peek(index) {
  dialog.classList.toggle("peeking", index !== null);
  parts.layers?.forEach((node) => node.classList.toggle("peeked", Number(node.dataset.layer) === index));
}

function filterBox(input, apply) {
  const run = () => apply(input.value.trim().toLowerCase());
  input.addEventListener("input", run);
  if (input.value) run(); // a browser may restore it
}

function filterGallery(words) {
  let left = 0;
  for (const item of $("cards").children) {
    item.hidden = Boolean(words) && !item.textContent.toLowerCase().includes(words);
    left += !item.hidden;
  }
  $("gallery-none").hidden = left > 0;
}

function filterLedger(words) {
  let left = 0;
  for (const outcome of $("outcomes").querySelectorAll("details")) {
    const head = outcome.querySelector("summary").textContent.toLowerCase().includes(words);
    let found = 0;
    for (const row of outcome.querySelectorAll("tbody tr")) {
      row.hidden = Boolean(words) && !head && !row.textContent.toLowerCase().includes(words);
      found += !row.hidden;
    }
    outcome.hidden = Boolean(words) && !head && !found;
    outcome.open = Boolean(words) && found > 0 && !head;
    left += outcome.hidden ? 0 : found;
  }
  $("ledger-none").hidden = left > 0 || !words;
  $("ledger-count").textContent = words ? `${plural(left, "listed input")} found` : ledgerCount;
}

const ledgerCount = $("ledger-count").textContent;
filterBox($("gallery-filter"), filterGallery);
filterBox($("ledger-filter"), filterLedger);
$("d-prev").addEventListener("click", () => step(-1));
$("d-next").addEventListener("click", () => step(1));
$("d-close").addEventListener("click", close);
$("d-views").addEventListener("click", (event) => event.target.dataset.view && change({ view: event.target.dataset.view }));
$("d-dim").addEventListener("change", (event) => dialog.classList.toggle("undimmed", !event.target.checked));
$("d-boxes").addEventListener("change", (event) => dialog.classList.toggle("boxes", event.target.checked));
$("d-spread").addEventListener("input", (event) => { dialog.style.setProperty("--spread", event.target.value / 50); fit(); });
dialog.addEventListener("cancel", (event) => { event.preventDefault(); close(); });
document.addEventListener("keydown", (event) => {
  if (!dialog.open || event.altKey || event.ctrlKey || event.metaKey || event.target.matches("input[type=range], input[type=search]")) return;
  if (event.key === "ArrowLeft") step(-1);
  else if (event.key === "ArrowRight") step(1);
  else return;
  event.preventDefault();
});
window.addEventListener("hashchange", render);
window.addEventListener("resize", fit);
render();
