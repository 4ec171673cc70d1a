// The table's columns: heading, what sorting compares, and what the cell shows.
const columns = (() => {
  const { html, bdi, unseen } = dom;
  const AT = [1, 2, 5, 10];
  const MEANING = {
    "not confirmed": "significantly worse on fresh trials than on the public test trials",
    claimed: "as the submitter measured it", rescored: "scored again from its forecasts", reproduced: "run again from its record",
    confirmed: "run on fresh trials, and not significantly worse there",
  };

  const numeric = (key, label, value, cell, hint) => ({ key, label, value, cell, hint, numeric: true, bestHigh: true });

  function estimate([value, low, high], metric) {
    const format = data.format(metric);
    const verdict = metric.direction !== "higher" ? "" : low > 0 ? "better" : high < 0 ? "worse" : "";
    return [html("span", { class: `value ${verdict}` }, format(value)), " ", html("span", { class: "interval" }, text.interval(low, high, format))];
  }

  function rank({ rank: place, ties }) {
    if (place === null) return [html("span", { "aria-hidden": "true" }, "-"), unseen("not ranked")];
    if (!ties) return String(place);
    const tied = `tied with ${text.plural(ties, "other")}`;
    return [String(place), html("span", { class: "tied", title: tied, "aria-hidden": "true" }, "="), unseen(`, ${tied}`)];
  }

  const badge = (label, hint, className = "") => html("span", { class: `badge ${className}`, title: hint }, label);
  function stateBadge(row) {
    const known = Object.hasOwn(MEANING, row.state), shown = text.clean(row.state, 20);
    if (!known) return badge(shown);
    const found = row.state.endsWith("confirmed") ? row.confirmation : row.state === "reproduced" && row.reproduction;
    return badge(shown, MEANING[row.state] + (found ? `: ${text.clean(found, 300)}` : ""), row.state.replace(" ", "-"));
  }
  const reason = (kind, why) => why && html("span", { class: `reason ${kind.replace(" ", "-")}` }, `${kind}: `, bdi(why, 160));

  // A badge for the row that no other is better than by the metric beside the first, and that is not the best by the first.
  function bestBy(row) {
    const [, second] = row.board?.ranking.metrics ?? [], found = row.ranks?.[second];
    if (row.rank === 1 || found?.rank !== 1) return "";
    const { label } = data.metrics.find(({ name }) => name === second);
    return html("span", { class: "reason" }, badge(`${found.ties ? "tied for best" : "best"} by ${label}`, `no row of its information class is better by ${label}`, "above"));
  }

  // The predictor's cell: the button that opens the row, and what sets the row apart.
  function predictor(row, view) {
    return [
      view.opener(row),
      html("span", { class: "about" }, row.variant && [dom.code(row.variant, 80), " "],
        html("span", { class: "soft" }, `v${text.clean(row.version, 12)} · `, bdi(row.budget, 40))),
      row.above ? html("span", { class: "reason" }, badge("above the span ceiling", "its skill is significantly above that of the best point in the span of its context", "above")) : "",
      bestBy(row),
      reason("greyed", row.greyed), reason("disputed", row.disputed),
      row.state === "not confirmed" && reason(row.state, row.confirmation),
    ];
  }

  const text_ = (key, label, value, cell, hint) => ({ key, label, value, cell, hint, numeric: false });
  const RANK = { ...text_("rank", "rank", row => row.rank, rank, "one more than the rows of the same information class that are better by skill; = marks ties"), className: "rank" };
  const PREDICTOR = { ...text_("predictor", "predictor", data.label, predictor), className: "predictor" };
  const CONSUMES = text_("consumes", "information", row => row.consumes, row => bdi(row.consumes, 40), "what the predictor reads besides the past weights");
  const FIT = { ...numeric("fit", "fit, s", row => row.fit, row => text.seconds(row.fit), "seconds of fitting, as stated by the run"), bestHigh: false };
  const PARAMETERS = { ...numeric("parameters", "parameters", row => row.parameters, row => text.count(row.parameters), "as stated by the run"), bestHigh: false };

  const state_ = hint => text_("state", "state", row => row.state, stateBadge, hint);

  const HINTS = { skill: "1 − WPE / WPE of persistence", repw: "return error of predicted weights" };
  HINTS.repw_moving = "REPW on windows and horizons whose true return differs from the origin's by 2% of the trial's range or more";
  const NONE = { rank: null, ties: 0 };

  // What some row of the view has a number of; the metric that ranks is always there.
  const measured = (view, metric) => metric === data.ranking || selection.base(view.now).some(row => Number.isFinite(view.metrics[metric.name]?.[0][row.index]));
  const alsoRanked = (view, metric) => selection.base(view.now).some(row => row.ranks[metric.name]);

  function ofBoard(view) {
    const many = view.now.view === "rows";
    return [
      RANK, PREDICTOR,
      many && text_("dataset", "dataset", row => row.board.dataset, row => html("a", { href: state.link({ view: row.board.id }) }, bdi(row.board.dataset, 60), data.version(row.board))),
      ...data.metrics.filter(metric => measured(view, metric)).flatMap(metric => [
        alsoRanked(view, metric) && { ...text_(`rank_${metric.name}`, `rank by ${metric.label}`, row => row.ranks[metric.name]?.rank, row => rank(row.ranks[metric.name] ?? NONE), `one more than the rows of the same information class that are better by ${metric.label}; = marks ties`), numeric: true },
        { ...numeric(metric.name, metric.label, row => view.metric(metric, row)[0], row => estimate(view.metric(metric, row), metric), `${HINTS[metric.name] ?? metric.label}; ${view.name}; with its nominal 95% interval`), bestHigh: metric.direction === "higher" },
        ...(metric === data.ranking ? AT.filter(h => h <= data.about.horizons).map(h =>
          numeric(`h${h}`, `h = ${h}`, row => view.byHorizon(row)[h - 1], row => data.format(metric)(view.byHorizon(row)[h - 1]), `${metric.label} ${h} checkpoints ahead`)) : []),
      ].filter(Boolean)),
      data.rows.some(row => row.fresh[0] !== null) && numeric("fresh", "fresh skill", row => row.fresh[0], row => plain(row.fresh, text.skill), "skill on fresh trials, learning phase, mean over horizons; with its 95% interval"),
      selection.base(view.now).some(row => row.branching[0] !== null) && numeric("branching", "share of the branching ceiling", row => row.branching[0], row => plain(row.branching, text.skill), "its skill divided by the best that a forecast can do which knows the whole training state, the current batch included; learning phase, means over horizons, with its 95% interval on the same test trials"),
      state_("not confirmed, claimed, rescored, reproduced or confirmed"),
      numeric("seeds", "seeds", row => row.seeds, row => String(row.seeds)),
      { ...numeric("spread", "spread", row => row.spread, row => (row.seeds > 1 ? text.skill(row.spread) : text.NONE), "standard deviation of skill over seeds"), bestHigh: false },
      FIT, PARAMETERS, CONSUMES,
      text_("device", "device", row => row.device, row => bdi(row.device, 40)),
    ].filter(Boolean);
  }

  const plain = ([value, low, high], format) => [html("span", { class: "value" }, format(value)), " ", html("span", { class: "interval" }, text.interval(low, high, format))];

  function ofOverall(view) {
    const { entries, environments } = data.across.get(view.now.view);
    const entriesHave = name => entries.some(entry => Number.isFinite(entry[name][0]));
    const member = (entry, environment) => entry.rows.find(row => row.board.environment === environment);
    const skillIn = (entry, environment) => { const row = member(entry, environment); return row ? data.about.headline.metrics[data.ranking.name][0][row.index] : null; };
    return [
      RANK, PREDICTOR,
      numeric("skill", "skill", entry => entry.skill[0], entry => estimate(entry.skill, data.ranking), "over its environments, learning phase, mean over horizons; with its 95% interval"),
      entriesHave("share") && numeric("share", "share of the ceiling", entry => entry.share[0], entry => plain(entry.share, text.skill), "mean over its environments of the skill's share of the span ceiling, with its 95% interval"),
      entriesHave("branching_share") && numeric("branching", "share of the branching ceiling", entry => entry.branching_share[0], entry => plain(entry.branching_share, text.skill), "mean over its environments of the skill's share of the branching ceiling, with its 95% interval"),
      { ...numeric("error_ratio", "error ratio", entry => entry.error_ratio[0], entry => plain(entry.error_ratio, text.skill), "geometric mean over its environments of WPE / WPE of persistence, with its 95% interval; lower is better"), bestHigh: false },
      state_("the lowest state of its rows"),
      ...environments.slice(0, 12).map((environment, number) =>
        numeric(`env${number}`, bdi(environment, 40), entry => skillIn(entry, environment), entry => text.skill(skillIn(entry, environment)), "skill in this environment")),
      numeric("environments", "environments", entry => entry.environments.length, entry => String(entry.environments.length)),
      { ...FIT, hint: "seconds of fitting, all environments together, as stated by the runs" }, { ...PARAMETERS, hint: "of its largest, as stated by the run" }, CONSUMES,
    ].filter(Boolean);
  }

  const of = view => (data.across.has(view.now.view) ? ofOverall(view) : ofBoard(view));

  return { of, badge, stateBadge, reason, plain };
})();
