// Lists the rows that the page carries: tabs, search, filters, and links from row to row.
// Every text from a row enters the page as textContent, so it can never become markup. Only one
// page of cards is in the document at a time, so tens of thousands of rows stay quick.
"use strict";

(() => {
  const CARDS = 25;
  const began = performance.now();
  const find = id => document.getElementById(id);
  const data = JSON.parse(find("row-data").textContent);
  const number = value => value.toLocaleString("en");

  function group(rows, key) {
    const groups = new Map();
    for (const row of rows) {
      const name = key(row);
      if (groups.has(name)) groups.get(name).push(row);
      else groups.set(name, [row]);
    }
    return groups;
  }

  const characters = new Map(data.characters.map(row => [row.id, row]));
  const dialogues = new Map(data.dialogues.map(row => [row.id, row]));
  const cast = group(data.characters, row => row.persona_id);
  const played = group(data.dialogues, row => row.character_id);
  const asked = group(data.questions, row => row.persona_id);
  const personaOf = row => characters.get(row.character_id)?.persona_id;
  const answerCount = data.questions.reduce((sum, row) => sum + row.answers.length, 0);

  const SCORES = [["high", "scored 4 to 5"], ["middle", "scored between 2 and 4"],
    ["low", "scored 1 to 2"], ["missing", "no verdict"]];

  function rate(score) {
    if (score === null) return "missing";
    return score >= 4 ? "high" : score <= 2 ? "low" : "middle";
  }

  function fitsAnswer(row, chosen) {
    return row.answers.some(answer =>
      (!chosen.model || answer.model === chosen.model) &&
      (!chosen.score || answer.verdicts.some(verdict => rate(verdict.score) === chosen.score)));
  }

  function namesOf(values) {
    return [...new Set(values)].filter(Boolean).sort().map(value => [value, value]);
  }

  const kinds = {
    characters: {
      rows: data.characters, noun: "characters", held: data.characters.length,
      total: data.totals.characters, draw: drawCharacter,
      text: row => [row.name, row.persona, ...row.profile.map(pair => pair[1]), row.id],
      filters: [], fits: () => true,
      focus: { id: row => row.id, persona: row => row.persona_id },
    },
    dialogues: {
      rows: data.dialogues, noun: "dialogues", held: data.dialogues.length,
      total: data.totals.dialogues, draw: drawDialogue,
      text: row => [characters.get(row.character_id)?.name, characters.get(row.character_id)?.persona,
        ...row.turns.map(turn => turn.content), row.corpus, row.id],
      filters: [
        ["strategy", "any strategy", () => namesOf(data.dialogues.map(row => row.strategy))],
        ["corpus", "any corpus", () => namesOf(data.dialogues.map(row => row.corpus))],
      ],
      fits: (row, chosen) => (!chosen.strategy || row.strategy === chosen.strategy) &&
        (!chosen.corpus || row.corpus === chosen.corpus),
      focus: { id: row => row.id, character: row => row.character_id, persona: personaOf },
    },
    answers: {
      rows: data.questions, noun: "answers", held: answerCount,
      total: data.totals.answers, draw: drawQuestion,
      text: row => [row.persona, row.text, row.reference, row.id, ...row.answers.flatMap(answer =>
        [answer.text, answer.id, ...answer.verdicts.map(verdict => verdict.reason)])],
      filters: [
        ["task", "any task", () => namesOf(data.questions.map(row => row.task))],
        ["model", "any model", () => namesOf(data.questions.flatMap(row => row.answers.map(answer => answer.model)))],
        ["score", "any score", () => data.questions.some(row =>
          row.answers.some(answer => answer.verdicts.length)) ? SCORES : []],
      ],
      fits: (row, chosen) => (!chosen.task || row.task === chosen.task) && fitsAnswer(row, chosen),
      focus: { id: row => row.id, persona: row => row.persona_id },
    },
  };

  const state = { kind: "", focus: null, page: 0, matches: [] };

  // --- cards ---

  function make(tag, name, ...inside) {
    const element = document.createElement(tag);
    if (name) element.className = name;
    element.append(...inside.filter(item => item !== null && item !== undefined));
    return element;
  }

  function text(tag, name, value) {
    const element = make(tag, name);
    element.dir = "auto";
    element.textContent = value;
    return element;
  }

  function link(label, kind, field, value) {
    const element = document.createElement("a");
    element.href = `#browse/${kind}/${field}/${encodeURIComponent(value)}`;
    element.textContent = label;
    return element;
  }

  function count(rows, one, many) {
    return rows.length === 1 ? `1 ${one}` : `${number(rows.length)} ${many}`;
  }

  function facts(...values) {
    const spans = values.filter(Boolean).map(value => make("span", "", text("bdi", "", value)));
    return make("p", "facts", ...spans);
  }

  function links(found) {
    return found.length ? make("p", "links", ...found) : null;
  }

  function linkDialogues(rows, field, value) {
    return rows.length ? [link(count(rows, "dialogue", "dialogues"), "dialogues", field, value)] : [];
  }

  function linkQuestions(persona) {
    const rows = asked.get(persona) ?? [];
    return rows.length ? [link(count(rows, "question asked", "questions asked"), "answers", "persona", persona)] : [];
  }

  function drawCharacter(row) {
    const fields = make("dl", "");
    for (const [label, value] of row.profile) fields.append(text("dt", "", label), text("dd", "", value));
    const twins = (cast.get(row.persona_id) ?? []).length > 1
      ? [link("all characters of this persona", "characters", "persona", row.persona_id)] : [];
    return make("article", "card", text("h4", "", row.name), text("p", "", row.persona), fields,
      links([...linkDialogues(played.get(row.id) ?? [], "character", row.id),
        ...linkQuestions(row.persona_id), ...twins]), key(row.id));
  }

  function drawDialogue(row) {
    const actor = characters.get(row.character_id);
    const turns = row.turns.map((turn, place) =>
      text("div", `turn ${turn.role}${place < row.given ? " given" : ""}`, turn.content));
    const others = (played.get(row.character_id) ?? []).length > 1
      ? [link("all dialogues of this character", "dialogues", "character", row.character_id)] : [];
    return make("article", "card", text("h4", "", actor?.name ?? "unknown character"),
      text("p", "", actor?.persona ?? ""),
      facts(row.strategy, row.corpus, row.given ? `${row.given} turns given` : "",
        row.truncated ? "cut off at the token limit" : ""),
      ...turns,
      links([...(actor ? [link("character", "characters", "id", actor.id)] : []), ...others,
        ...(actor ? linkQuestions(actor.persona_id) : [])]), key(row.id));
  }

  function drawQuestion(row) {
    const people = cast.get(row.persona_id) ?? [];
    const theirs = people.flatMap(person => played.get(person.id) ?? []);
    const same = (asked.get(row.persona_id) ?? []).length > 1
      ? [link("all questions to this persona", "answers", "persona", row.persona_id)] : [];
    return make("article", "card", text("h4", "", row.text), text("p", "", row.persona),
      facts(row.task, row.suite, row.setting),
      make("div", "answers", ...row.answers.map(drawAnswer)), drawReference(row),
      links([...people.map(person => link(person.name || "character", "characters", "id", person.id)),
        ...linkDialogues(theirs, "persona", row.persona_id), ...same]), key(row.id));
  }

  function drawAnswer(answer) {
    const head = make("h5", "", text("span", "", answer.model));
    for (const verdict of answer.verdicts) {
      const said = verdict.score === null ? "no verdict"
        : Number.isInteger(verdict.score) ? String(verdict.score) : verdict.score.toFixed(1);
      head.append(text("span", `score ${rate(verdict.score)}`, `${verdict.judge}: ${said}`));
    }
    if (answer.truncated) head.append(make("span", "soft", "cut off"));
    const reasons = answer.verdicts.filter(verdict => verdict.reason).map(verdict =>
      make("details", "", text("summary", "", `why ${verdict.judge} says so`), text("p", "", verdict.reason)));
    return make("div", "answer", head, text("p", "text", answer.text), ...reasons);
  }

  function drawReference(row) {
    if (!row.reference) return null;
    const source = dialogues.has(row.dialogue_id)
      ? make("p", "", link("the dialogue it is from", "dialogues", "id", row.dialogue_id)) : null;
    return make("details", "", text("summary", "soft", "what the character said when the teacher played it"),
      text("p", "turn assistant", row.reference), source);
  }

  function key(id) {
    return make("p", "facts", make("code", "", id));
  }

  // --- finding ---

  function textsOf(kind) {
    kind.texts ??= kind.rows.map(row => kind.text(row).join("\n").toLowerCase());
    return kind.texts;
  }

  function readFilters() {
    const chosen = {};
    for (const select of find("filters").querySelectorAll("select")) chosen[select.name] = select.value;
    return chosen;
  }

  function search() {
    const started = performance.now();
    const kind = kinds[state.kind];
    const words = find("words").value.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = readFilters();
    const texts = words.length ? textsOf(kind) : [];
    const wanted = state.focus && kind.focus[state.focus.field];
    state.matches = kind.rows.filter((row, place) =>
      (!wanted || wanted(row) === state.focus.value) &&
      kind.fits(row, chosen) && words.every(word => texts[place].includes(word)));
    state.page = 0;
    draw();
    performance.measure("rows-search", { start: started, end: performance.now() });
  }

  function draw() {
    const kind = kinds[state.kind], first = state.page * CARDS, all = state.matches.length;
    const shown = state.matches.slice(first, first + CARDS);
    find("cards").replaceChildren(...shown.map(kind.draw));
    const what = state.kind === "answers" ? "questions" : kind.noun;
    find("found").textContent = `${number(all)} of ${number(kind.rows.length)} ${what} match; ` +
      `${number(kind.held)} of the run's ${number(kind.total)} ${kind.noun} are in this page.`;
    find("unfocus").hidden = !state.focus;
    find("unfocus").textContent = "show all";
    find("place").textContent = all ? `${number(first + 1)} to ${number(first + shown.length)} of ${number(all)}` : "nothing found";
    find("earlier").disabled = first === 0;
    find("later").disabled = first + CARDS >= all;
  }

  // --- tabs, links, history ---

  function openKind(name, focus) {
    if (name !== state.kind || focus) {
      find("words").value = "";
      find("filters").replaceChildren(...kinds[name].filters.map(drawFilter).filter(Boolean));
    }
    state.kind = name;
    state.focus = focus;
    for (const other of Object.keys(kinds)) {
      const tab = find(`tab-${other}`);
      tab.setAttribute("aria-selected", String(other === name));
      tab.tabIndex = other === name ? 0 : -1;
    }
    find("cards").setAttribute("aria-labelledby", `tab-${name}`);
    find("words").placeholder = `Search ${kinds[name].noun}`;
    search();
  }

  function drawFilter([name, any, options]) {
    const found = options();
    if (found.length < 2) return null;
    const select = document.createElement("select");
    select.name = name;
    select.setAttribute("aria-label", name);
    for (const [value, label] of [["", any], ...found]) select.append(new Option(label, value));
    select.addEventListener("change", () => { leaveLink(); search(); });
    return select;
  }

  function followHash() {
    const parts = location.hash.slice(1).split("/");
    if (parts[0] !== "browse" || !Object.hasOwn(kinds, parts[1])) return false;
    const kind = kinds[parts[1]];
    const told = parts.length === 4 ? decodeKey(parts[3]) : "";
    const focused = parts.length === 4 && Object.hasOwn(kind.focus, parts[2]);
    openKind(parts[1], focused ? { field: parts[2], value: told } : null);
    if (parts[2] === "filter") setFilters(new URLSearchParams(told));
    find("browser").scrollIntoView();
    return true;
  }

  // What a figure was reckoned from may not be among the rows of the page: then nothing is found.
  function setFilters(wanted) {
    find("words").value = "";
    for (const select of find("filters").querySelectorAll("select")) {
      const value = wanted.get(select.name) ?? "";
      if (![...select.options].some(option => option.value === value)) select.append(new Option(value, value));
      select.value = value;
    }
    search();
  }

  function decodeKey(value) {
    try {
      return decodeURIComponent(value);
    } catch {
      return value;
    }
  }

  function leaveFocus() {
    if (state.focus) {
      state.focus = null;
      leaveLink();
    }
  }

  function leaveLink() {
    if (location.hash.startsWith("#browse/")) history.replaceState(null, "", `#browse/${state.kind}`);
  }

  // A link that was followed already changes nothing that would be noticed.
  function followAgain(event) {
    const link = event.target.closest?.('a[href^="#browse/"]');
    if (link && link.hash === location.hash) followHash();
  }

  function turn(by) {
    state.page += by;
    draw();
    find("browser").scrollIntoView();
  }

  function moveTab(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const tabs = present.map(name => find(`tab-${name}`));
    const next = tabs[(tabs.indexOf(document.activeElement) + step + tabs.length) % tabs.length];
    next.focus();
    next.click();
  }

  const present = Object.keys(kinds).filter(name => kinds[name].rows.length);
  for (const name of Object.keys(kinds)) {
    const tab = find(`tab-${name}`);
    tab.hidden = !present.includes(name);
    tab.addEventListener("click", () => {
      history.replaceState(null, "", `#browse/${name}`);
      openKind(name, null);
    });
    tab.addEventListener("keydown", moveTab);
  }
  find("words").addEventListener("input", () => { leaveFocus(); search(); });
  find("unfocus").addEventListener("click", () => { leaveFocus(); search(); });
  find("earlier").addEventListener("click", () => turn(-1));
  find("later").addEventListener("click", () => turn(1));
  addEventListener("hashchange", followHash);
  addEventListener("click", followAgain);
  if (!followHash()) openKind(present.includes("answers") ? "answers" : present[present.length - 1], null);
  // The first search should not wait for texts to be prepared; they are, when there is time.
  const prepare = name => () => textsOf(kinds[name]);
  for (const name of present) (window.requestIdleCallback ?? setTimeout)(prepare(name));
  performance.measure("rows-ready", { start: began, end: performance.now() });
})();
