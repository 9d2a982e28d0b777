// Shows two answers side by side, takes ratings by key or button, and saves them as a sheet.
// Every text from a row enters the page as textContent, so it can never become markup. Ratings are
// kept in the browser under the rater's name, by the keys of the two answers, which are the same in
// whatever page of a run they stand.
"use strict";

(() => {
  const KEPT = "opencharacter.ratings/", RATER = "opencharacter.rater";
  const SHUFFLED = "shuffled, a fair sample";
  const COLUMNS = ["left", "right", "preferred", "blind", "rater", "order", "question", "sheet"];
  const find = id => document.getElementById(id);
  const data = JSON.parse(find("pair-data").textContent);
  const number = value => value.toLocaleString("en");
  const state = { rater: "", ratings: {}, shown: [], place: 0 };

  function make(tag, name, ...inside) {
    const element = document.createElement(tag);
    if (name) element.className = name;
    element.append(...inside.filter(item => item !== null));
    return element;
  }

  function text(tag, name, value) {
    const element = make(tag, name);
    element.dir = "auto";
    element.textContent = value;
    return element;
  }

  // --- what is kept ---

  function keep(name, value) {
    try {
      if (value === undefined) return localStorage.getItem(name);
      localStorage.setItem(name, value);
    } catch {
      find("unkept").hidden = false;
    }
    return null;
  }

  function readRatings(rater) {
    try {
      return JSON.parse(keep(KEPT + rater)) ?? {};
    } catch {
      return {};
    }
  }

  const nameOf = pair => [pair.left.id, pair.right.id].sort().join(" ");
  const ratingOf = pair => state.ratings[nameOf(pair)] ?? {};
  const isRated = pair => ratingOf(pair).preferred !== undefined;
  const isShown = pair => isRated(pair) || ratingOf(pair).seen === true;

  function change(pair, rating) {
    // Another tab may have written since.
    state.ratings = { ...readRatings(state.rater), ...state.ratings, [nameOf(pair)]: rating };
    keep(KEPT + state.rater, JSON.stringify(state.ratings));
  }

  function chooseRater(name) {
    const given = Object.keys(state.ratings).length && !state.rater ? state.ratings : {};
    state.rater = name;
    state.ratings = { ...given, ...readRatings(name) };
    if (Object.keys(given).length) {
      keep(KEPT + name, JSON.stringify(state.ratings));
      keep(KEPT, "{}");
    }
    keep(RATER, name);
  }

  // --- what is shown ---

  function list() {
    const order = find("order").selectedIndex - 1;
    const models = find("models").value, task = find("task").value;
    const fitting = data.pairs.filter(pair =>
      (!models || modelsOf(pair) === models) && (!task || pair.task === task));
    const rank = pair => pair.ranks[order] ?? -Infinity;
    state.shown = order < 0 ? fitting : fitting.slice().sort((one, two) =>
      rank(one) === rank(two) ? 0 : rank(two) - rank(one));
    find("fair").textContent = order < 0 ? "" :
      "This order puts extremes first: rate all pairs of it, or the shuffled ones, for a win rate that speaks for the run.";
    const unrated = state.shown.findIndex(pair => !isRated(pair));
    state.place = Math.max(unrated, 0);
    draw();
  }

  const modelsOf = pair => `${pair.model} and ${pair.against}`;
  const current = () => state.shown[state.place];

  function draw(news = "") {
    const pair = current(), rated = state.shown.filter(isRated).length;
    find("pair").hidden = !pair;
    const where = pair ? `Pair ${number(state.place + 1)} of ${number(state.shown.length)}` : "No pair fits";
    find("told").textContent = `${news}${where}; ${number(rated)} rated.`;
    const all = data.pairs.filter(isRated).length;
    find("save").textContent = `Save ${number(all)} rating${all === 1 ? "" : "s"} as a sheet`;
    find("save").disabled = all === 0;
    find("previous").disabled = state.place === 0;
    find("next").disabled = state.place + 1 >= state.shown.length;
    find("unrated").disabled = rated === state.shown.length;
    if (!pair) return;
    find("question").textContent = pair.question;
    find("persona").textContent = pair.persona;
    find("facts").textContent = [pair.task, pair.setting, modelsOf(pair)].filter(Boolean).join(" \u00b7 ");
    find("profile").hidden = !pair.profile;
    find("profile").querySelector("p").textContent = pair.profile;
    const rating = ratingOf(pair), shown = isShown(pair);
    for (const [place, side] of ["left", "right"].entries()) drawSide(pair, side, place, rating, shown);
    find("vote-left").setAttribute("aria-pressed", String(rating.preferred === pair.left.id));
    find("vote-right").setAttribute("aria-pressed", String(rating.preferred === pair.right.id));
    find("vote-tie").setAttribute("aria-pressed", String(rating.preferred === ""));
    find("reveal").disabled = shown;
    find("clear").disabled = !isRated(pair);
  }

  function drawSide(pair, side, place, rating, shown) {
    const answer = pair[side], box = find(side), margin = pair.margins[place];
    const name = side === "left" ? "Left" : "Right";
    find(`${side}-head`).replaceChildren(name, ...(shown ? [": ", text("bdi", "", answer.model)] : []));
    box.querySelector("p").textContent = answer.text;
    box.classList.toggle("preferred", rating.preferred === answer.id);
    const cut = answer.truncated ? [make("p", "soft", "cut off at the token limit")] : [];
    box.querySelector(".found").replaceChildren(...cut, ...(shown ? drawFound(answer, margin) : []));
  }

  function drawFound(answer, margin) {
    const scores = answer.verdicts.map(verdict => text("span", "score",
      `${verdict.judge}: ${verdict.score === null ? "no verdict" : String(+verdict.score.toFixed(2))}`));
    if (margin !== null) scores.push(text("span", "score", `attribution margin: ${margin.toFixed(3)} nats a token`));
    const reasons = answer.verdicts.filter(verdict => verdict.reason).map(verdict =>
      make("details", "", text("summary", "", `why ${verdict.judge} says so`), text("p", "text", verdict.reason)));
    return [...(scores.length ? [make("p", "scores", ...scores)] : []), ...reasons];
  }

  // --- what a rater does ---

  function vote(side) {
    const pair = current();
    if (!pair) return;
    const preferred = side === "tie" ? "" : pair[side].id;
    const blind = isRated(pair) && ratingOf(pair).preferred === preferred ? ratingOf(pair).blind : !isShown(pair);
    change(pair, { preferred, blind, seen: true, order: find("order").value });
    const whose = side === "tie" ? "A tie" : `Left is ${pair.left.model}, right is ${pair.right.model}`;
    draw(side === "tie" ? `${whose}: left is ${pair.left.model}, right is ${pair.right.model}. `
      : `You prefer the ${side}. ${whose}. `);
  }

  function reveal() {
    const pair = current();
    if (!pair || isShown(pair)) return;
    change(pair, { seen: true });
    draw(`Left is ${pair.left.model}, right is ${pair.right.model}. `);
  }

  function takeBack() {
    const pair = current();
    if (!pair || !isRated(pair)) return;
    change(pair, { seen: true });
    draw("Taken back. ");
  }

  function move(by) {
    const place = state.place + by;
    if (place < 0 || place >= state.shown.length) return;
    state.place = place;
    draw();
    find("told").scrollIntoView({ block: "nearest" });
  }

  function moveToUnrated() {
    const places = state.shown.map((_, place) => (state.place + 1 + place) % state.shown.length);
    const place = places.find(one => !isRated(state.shown[one]));
    if (place !== undefined) move(place - state.place);
  }

  // --- the sheet ---

  // As sheet_files.py's neutralise: no spreadsheet runs such a cell, and reading gives the text back.
  const neutralise = value => /^'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/.test(value) ? `'${value}` : value;
  const quote = value => `"${neutralise(value).replaceAll('"', '""')}"`;

  function writeSheet() {
    const note = `report ${data.report.slice(0, 12)}, seed ${data.seed}`;
    const rows = data.pairs.filter(isRated).map(pair => {
      const rating = ratingOf(pair);
      const preferred = rating.preferred === "" ? "tie" : rating.preferred === pair.left.id ? "left" : "right";
      return [pair.left.id, pair.right.id, preferred, rating.blind ? "yes" : "no", state.rater,
        rating.order, pair.question, note];
    });
    return "\ufeff" + [COLUMNS, ...rows].map(cells => cells.map(quote).join(",") + "\r\n").join("");
  }

  function save() {
    const link = document.createElement("a");
    const name = state.rater.replace(/[^\p{L}\p{N}.]+/gu, "-").replace(/^[-.]+|-+$/g, "");
    link.href = URL.createObjectURL(new Blob([writeSheet()], { type: "text/csv" }));
    link.download = name ? `ratings-${name}.csv` : "ratings.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }

  // --- what is wired up ---

  const KEYS = {
    ArrowLeft: () => vote("left"), ArrowRight: () => vote("right"), t: () => vote("tie"),
    j: () => move(1), n: () => move(1), k: () => move(-1), p: () => move(-1),
    u: moveToUnrated, r: reveal, x: takeBack,
  };

  function press(event) {
    const typing = event.target.closest?.("input, select, textarea");
    const action = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (typing || !action || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    event.preventDefault();
    action();
  }

  function fill(id, values, any) {
    const options = values.map(value => new Option(value, value));
    find(id).replaceChildren(...(any ? [new Option(any, "")] : []), ...options);
    find(id).parentElement.hidden = values.length < 2;
    let byPointer = false;
    find(id).addEventListener("pointerdown", () => { byPointer = true; });
    find(id).addEventListener("keydown", () => { byPointer = false; });
    find(id).addEventListener("change", () => {
      list();
      // Who chose with a pointer rates next: keys shall not turn the list that is still in focus.
      if (byPointer) find("question").focus({ preventScroll: true });
    });
  }

  const distinct = values => [...new Set(values)].sort();
  fill("order", [SHUFFLED, ...data.orders]);
  fill("models", distinct(data.pairs.map(modelsOf)), "all");
  fill("task", distinct(data.pairs.map(pair => pair.task)), "all");
  for (const side of ["left", "tie", "right"]) find(`vote-${side}`).addEventListener("click", () => vote(side));
  for (const [id, action] of [["previous", () => move(-1)], ["next", () => move(1)],
    ["unrated", moveToUnrated], ["reveal", reveal], ["clear", takeBack], ["save", save]]) {
    find(id).addEventListener("click", action);
  }
  find("rater").addEventListener("change", () => { chooseRater(find("rater").value.trim()); list(); });
  document.addEventListener("keydown", press);
  const rater = keep(RATER) ?? "";
  state.rater = rater;
  state.ratings = readRatings(rater);
  find("rater").value = rater;
  list();
})();
