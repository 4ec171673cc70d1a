// Two rows of one table side by side: what is chosen, and the difference that the leaderboard's document has of them.
const compare = (() => {
  const { html, bdi } = dom;
  const CHOOSE = "choose a row";

  // A widget: `change` is called with the ids chosen, `partners(row, rows)` are the rows that it can stand beside,
  // and `result(one, other)` makes the answer, its sentence first.
  function widget({ change, partners, result }) {
    const element = html("details", { class: "compare" }), said = html("div", { role: "status" }), answer = html("div", { class: "answer" });
    const [first, second] = ["First row", "Second row"].map(name => html("select", { "aria-label": name }));
    element.append(html("summary", {}, "Compare two rows"),
      html("div", { class: "pair" }, html("label", {}, "Compare ", first), html("label", {}, "with ", second)), said, answer);
    let rows = [], latest = 0;

    const option = row => html("option", { value: row.id }, text.clean([data.label(row), row.budget].filter(Boolean).join(" · "), 120));
    const fill = (select, choices, value) => {
      const key = choices.map(row => row.id).join("\n");
      if (select.dataset.key !== key || !select.options.length) {
        select.dataset.key = key;
        select.replaceChildren(html("option", { value: "" }, CHOOSE), ...choices.map(option));
      }
      select.value = value ?? "";
    };
    const known = (one, other) => partners(data.byId.get(one), rows).some(({ id }) => id === other);
    first.addEventListener("change", () => change(first.value ? [first.value, second.value].filter(id => id === first.value || known(first.value, id)) : []));
    second.addEventListener("change", () => change([first.value, second.value].filter(Boolean)));

    async function draw(choices, ids) {
      const turn = ++latest;
      rows = choices;
      fill(first, rows, ids[0]);
      const one = data.byId.get(ids[0]), other = data.byId.get(ids[1]);
      fill(second, one ? partners(one, rows) : [], ids[1]);
      second.disabled = !one;
      if (ids.length) element.open = true;
      const made = one && other ? await result(one, other) : [];
      if (turn !== latest) return;
      const [sentence, ...rest] = made.filter(Boolean);
      said.replaceChildren(...[sentence].filter(Boolean));
      answer.replaceChildren(...rest);
    }

    return { element, draw, focus: () => { element.scrollIntoView({ block: "start" }); first.focus({ preventScroll: true }); } };
  }

  const WORDS = { better: "is better than", worse: "is worse than", tied: "is not told apart from" };

  function unranked(one, other) {
    if (one.greyed || other.greyed) return " (one of them is greyed)";
    return one.consumes === other.consumes ? "" : " (another information class)";
  }

  // The answer in a sentence; no verdict for rows that are not ranked among each other.
  const sentence = (one, other, verdict, difference) => html("p", { class: "verdict" }, html("b", {}, bdi(data.label(one), 120)), " ",
    verdict ? html("span", { class: verdict }, WORDS[verdict]) : "is not ranked together with", " ", html("b", {}, bdi(data.label(other), 120)), verdict ? "" : unranked(one, other), ": ", difference, ".");

  const permalink = (view, one, other) => html("p", {}, copying.link("Link to this comparison", state.link({ view, compare: [one.id, other.id] })));

  return { widget, sentence, permalink };
})();
