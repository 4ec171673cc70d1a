// From the address to the page, and back: every change goes through the address.
const page = (() => {
  const { html, bdi } = dom;
  const place = name => document.getElementById(name);
  const mean = values => { const kept = values.filter(Number.isFinite); return kept.length ? kept.reduce((a, b) => a + b) / kept.length : null; };
  let now = state.parse(location.hash), latest = 0;

  // What is drawn: the address, its rows, and how to read a number of a row.
  async function look() {
    const numbers = await loading.numbers(now.phase, now.horizon);
    const at = row => numbers.by_horizon.map(column => column[row.index]);
    const metric = ({ name }, row) => numbers.metrics[name]?.map(column => column[row.index]) ?? [];
    const view = {
      now, phase: now.phase, name: `${now.phase} phase, ${now.horizon === "mean" ? "mean over horizons" : `h = ${now.horizon}`}`,
      metrics: numbers.metrics, metric,
      skill: row => (row.overall ? row.skill : metric(data.ranking, row)),
      byHorizon: row => (row.overall ? numbers.by_horizon.map(column => mean(row.rows.map(member => column[member.index]))) : at(row)),
      opener: table.opener,
    };
    view.columns = columns.of(view);
    const key = now.sort.replace("-", "");
    const column = view.columns.find(candidate => candidate.key === key) ?? view.columns[0];
    view.sort = { key: column.key, descending: column.key === key && now.sort.startsWith("-") };
    const best = selection.sorted(selection.filtered(now), { value: row => view.skill(row)[0] }, true);
    view.rows = selection.sorted(best, column, view.sort.descending);
    view.caption = `${title()}, ${view.name}`;
    return view;
  }

  const board = () => data.boards.get(now.view);
  const across = () => data.across.get(now.view);
  const title = () => (across() ? `Overall, across environments${data.version(across())}` : now.view === "rows" ? "Every row of every board" : `${text.clean(board().environment, 80)}${data.version(board())}`);

  async function draw() {
    const turn = ++latest;
    let view;
    try {
      view = await look();
    } catch (error) {
      place("problem").textContent = error.message;
      place("problem").hidden = false;
      return false;
    }
    if (turn !== latest) return false; // another choice was made while this one was read
    place("problem").hidden = true;
    controls.draw(view);
    heading(view);
    table.draw(view);
    const all = selection.base(now).length;
    place("count").textContent = view.rows.length === all ? text.plural(all, "row") : `${text.count(view.rows.length)} of ${text.plural(all, "row")}`;
    drawn = view;
    plots(true);
    files.draw(now);
    training.draw(now);
    await boardCompare.draw(view);
    return true;
  }

  let drawn = null, width = 0;
  function plots(anew) {
    const whole = place("plots").clientWidth;
    if (!drawn || !whole || (!anew && whole === width)) return;
    width = whole;
    const each = Math.min(660, whole >= 760 ? Math.floor(whole / 2) - 16 : whole);
    place("plots").replaceChildren(horizonChart.draw(drawn.rows, drawn, each), costChart.draw(drawn.rows, drawn, each));
  }

  function heading(view) {
    const where = board();
    document.title = `${title()} - tipl-bench leaderboard`;
    place("view-title").replaceChildren(bdi(title()), ...(where ? [" ", html("span", { class: "soft" }, bdi(where.dataset, 80))] : []));
    place("view-about").replaceChildren(...(where ? aboutBoard(where, view) : aboutMany()).filter(Boolean));
  }

  function aboutMany() {
    if (!across()) return [html("p", {}, "Skills of different boards are not comparable; ranks are each board's own.")];
    const { environments, entries, protocol } = across();
    const others = [...data.across.values()].filter(one => one !== across());
    const claimed = entries.filter(entry => entry.state === "claimed").length;
    return [...others.map(other => html("p", {}, html("a", { href: state.link({ view: other.view }) }, `The comparison under protocol ${text.clean(other.protocol, 20)}`))),
      html("p", {}, `Mean skill over ${text.plural(environments.length, "environment")}, each on its default dataset, or an earlier version of it, under protocol ${text.clean(protocol, 20)}: learning phase, mean over horizons. Open a row for its results in each; choose a board above for phases and horizons.`),
      claimed > 0 && html("p", {}, `${text.count(claimed)} of ${text.plural(entries.length, "row")} rest on a result that is only claimed: the state of a row is the lowest of its results.`)];
  }

  // Where a board's dataset is available: a badge's label and its meaning.
  function whereabouts({ repo, published }) {
    if (repo) return ["published", "on the Hub"];
    return published ? ["bundled", "part of the package"] : ["local", "not published: rows can be checked only by collecting it again"];
  }

  function aboutBoard(where, view) {
    const measured = where.phases[now.phase];
    const pick = ({ mean, by_horizon } = {}) => (now.horizon === "mean" ? mean : by_horizon?.[Number(now.horizon) - 1]);
    const references = data.metrics.filter(metric => view.metrics[metric.name]).flatMap(data.referencesOf)
      .filter(reference => measured && Number.isFinite(pick(measured.references[reference.name])));
    const branching = measured?.references.branching_ceiling?.interval;
    return [
      where.yanked && html("p", { class: "notice" }, html("b", {}, "The dataset is yanked: "), bdi(where.yanked), ". These rows are kept for the record only."),
      where.superseded && html("p", { class: "notice" }, html("b", {}, "Superseded by "), bdi(where.superseded), ". These rows are kept for the record only."),
      ...data.otherProtocols(where).map(other => html("p", {}, html("a", { href: state.link({ view: other.id }) }, `The board of this dataset under protocol ${text.clean(other.protocol, 20)}`))),
      !where.ranked && html("p", { class: "notice" }, html("b", {}, "Not ranked: "), `${text.plural(where.trials, "test trial")} cannot separate rows.`),
      measured && html("dl", { class: "facts" }, [
        ["phase", `${view.name}`], ["windows", `${text.count(measured.windows)} of ${text.plural(measured.trials, "test trial")}`],
        ...references.map(reference => [reference.label, data.format(reference)(pick(measured.references[reference.name]))]),
        ["protocol", text.clean(where.protocol, 20)],
        ["dataset", [dom.code(where.digest.slice(0, 12)), " ", columns.badge(...whereabouts(where))]],
      ].map(([name, value]) => html("div", {}, html("dt", {}, name), html("dd", {}, value)))),
      branching && html("p", { class: "soft" }, `Branching ceiling: the best that a forecast can do which knows the whole training state at the origin, the current batch included. ${text.skill(branching.value)} ${text.interval(branching.low, branching.high, text.skill)} over all horizons, by ${text.count(where.continuations)} continuations of each window.`),
      byPosition(where),
      (now.phase !== where.headline || now.horizon !== "mean") && html("p", { class: "soft" }, `Ranks and ties are those of the headline: ${where.headline} phase, mean over horizons.`),
    ];
  }

  // Skill of a board's rows at each position within the PPO iteration, where origins are stratified by that.
  function byPosition(where) {
    const values = data.about.positions;
    const rows = data.rows.filter(row => row.board === where && values[row.index]);
    if (!rows.length) return null;
    const references = where.phases[where.headline].positions;
    const beside = data.referencesOf(data.ranking).filter(one => references[one.name]).map(one => [one.label, references[one.name].mean]);
    const lines = [...rows.map(row => [bdi(data.label(row), 60), values[row.index]]), ...beside];
    const title = `${text.capital(data.ranking.label)} by the origin's position within the PPO iteration, ${where.headline} phase, mean over horizons, without intervals`;
    return html("details", {}, html("summary", {}, `${text.capital(data.ranking.label)} by position within the PPO iteration`),
      dom.table(title, ["predictor", ...values[rows[0].index].map((_, index) => String(index + 1))], lines.map(([who, at]) => [who, ...at.map(data.format(data.ranking))])));
  }

  // A change by the reader; `replace` for what should not be a step back, `drawn` when the page shows it already, `still` when only the training track changes.
  async function change(changes, { replace = false, drawn: shown = false, still = false } = {}) {
    const before = state.address(now);
    now = state.parse(state.address({ ...now, ...changes }));
    const address = state.address(now);
    if (address !== before) history[replace ? "replaceState" : "pushState"](null, "", address);
    if (drawn && (shown || still)) drawn.now = now;
    else await draw();
    if (still) training.draw(now);
  }

  // A row as the first of two that are compared.
  async function compared(row) {
    await change({ view: row.overall || row.board.id, compare: [row.id] });
    boardCompare.focus();
  }

  async function arrive(focused) {
    now = state.parse(location.hash);
    const [row, run, pair] = [now.open[0], now.run[0], now.compare[0]];
    table.link(focused && row);
    training.link(focused && !row && run);
    if (!(await draw()) || !focused) return;
    if (row) table.focus(row);
    else if (run) training.focus(run);
    else if (pair) (data.byId.get(pair).training ? training.compareFocus(pair) : boardCompare.focus());
  }

  let followed = false;
  document.addEventListener("click", event => { followed = Boolean(event.target.closest?.('a[href^="#"]')); });
  addEventListener("popstate", () => {
    arrive(followed);
    followed = false;
  });
  place("skip").addEventListener("click", event => {
    event.preventDefault(); // the address is the view's
    place("table").focus();
  });
  controls.listen(change);
  table.listen(change);
  training.listen(change);
  boardCompare.listen(change);
  new ResizeObserver(() => plots(false)).observe(place("plots"));
  place("version").textContent = text.clean(data.about.version, 40);
  arrive(true);
  return { change, compare: compared };
})();
