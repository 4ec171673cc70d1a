// The parts of an opened row, each a heading and a list or table.
const sections = (() => {
  const { html, bdi, code } = dom;

  const section = (title, ...content) => html("section", {}, html("h3", {}, title), ...content);
  const withInterval = ([value, low, high], format) => columns.plain([value, low, high], format);

  function options(row, details) {
    const entries = Object.entries(details.options);
    return section("Configuration", dom.list([
      ["predictor", [bdi(row.method, 400), `, version ${text.clean(row.version, 20)}`]],
      ["information", bdi(row.consumes, 400)], ["budget", bdi(row.budget, 400)], ["device", bdi(row.device, 400)],
      ["options", entries.length ? html("ul", { class: "plain" }, entries.map(([name, value]) => html("li", {}, code(`${name}=${text.clean(value)}`)))) : "none"],
    ]));
  }

  function cost(row, details) {
    const { fit_seconds, forecast_seconds, evaluation_seconds, peak_memory_bytes, parameters } = details.cost;
    return section("Cost", html("p", { class: "soft" }, "As stated by the run."), dom.list([
      ["fit", `${text.seconds(fit_seconds)} s`], ["forecasts", `${text.seconds(forecast_seconds)} s`], ["returns", `${text.seconds(evaluation_seconds)} s`],
      ["peak memory", text.bytes(peak_memory_bytes)], ["parameters", text.count(parameters)],
    ]));
  }

  function seeds(row, details) {
    return section("Seeds", dom.list([
      ...details.seeds.map((seed, index) => [`seed ${text.clean(seed, 20)}`, `skill ${text.skill(details.seed_skills[index])}`]),
      ["spread", details.seeds.length > 1 ? text.skill(details.spread) : "one seed only"],
    ]));
  }

  function layers(row, details, phase) {
    const table = Object.entries(details.layers[phase] ?? {});
    const steps = [1, 2, 5, 10].filter(h => h <= data.about.horizons);
    return section("WPE by layer", table.length
      ? dom.table(`WPE of each layer, ${phase}`, ["layer", ...steps.map(h => `h = ${h}`)], table.map(([name, series]) => [code(name, 200), ...steps.map(h => text.scientific(series[h - 1]))]))
      : html("p", {}, "Not measured in this phase."));
  }

  // Each metric at each position within the PPO iteration, its board's references below it.
  function positions(row, details, phase) {
    const found = details.positions[phase];
    if (!found) return null;
    const steps = [1, 2, 5, 10].filter(h => h <= data.about.horizons), references = row.board.phases[phase].positions;
    return section("By position within the PPO iteration", data.metrics.filter(({ name }) => found[name]).map(metric => {
      const format = data.format(metric), { mean, by_horizon } = found[metric.name];
      const beside = data.referencesOf(metric).filter(({ name }) => references[name]).map(({ name, label }) => [`${label}, mean over horizons`, references[name].mean]);
      const lines = [["mean over horizons", mean], ...steps.map(h => [`h = ${h}`, by_horizon[h - 1]]), ...beside];
      return dom.table(`${text.capital(metric.label)} by the origin's position, ${phase}`, ["", ...mean.map((_, index) => String(index + 1))], lines.map(([name, values]) => [name, ...values.map(format)]));
    }));
  }

  const FIRST = 15;

  // Every other row of the board: who is better, by how much, how often.
  function comparisons(row, details) {
    if (!details.comparisons.length) return section("Comparisons", html("p", {}, "There is no other row to compare with."));
    const { ranking } = row.board;
    const also = data.metrics.filter(({ name }) => details.comparisons.some(({ others }) => others[name]));
    const made = [...details.comparisons].sort((one, another) => (one.difference[0] ?? 0) - (another.difference[0] ?? 0)).map(({ row: index, difference, verdict, wins, others }) => {
      const other = data.rows[index];
      return [html("a", { href: state.rowLink(other) }, bdi(data.label(other), 80), " ", html("span", { class: "soft" }, bdi(other.budget, 40))),
        withInterval(difference, text.skill), withInterval(wins, value => text.skill(value).slice(0, -1)), judged(verdict),
        ...also.flatMap(metric => (others[metric.name] ? [withInterval(others[metric.name].difference, data.format(metric)), judged(others[metric.name].verdict)] : [text.NONE, text.NONE]))];
    });
    const headings = ["other row", "difference in skill, 95% interval", "win rate, 95% interval", "this row is",
      ...also.flatMap(({ label }) => [`difference in ${label}, 95% interval`, `by ${label}`])];
    const caption = `Against every other row of the board, ${row.board.headline} phase`;
    const place = html("div", {}, dom.table(caption, headings, made.slice(0, FIRST)));
    if (made.length > FIRST) {
      const more = html("button", { type: "button", onclick: () => {
        const whole = dom.table(caption, headings, made);
        place.replaceChildren(whole);
        whole.focus();
      } }, `Show all ${text.count(made.length)} comparisons`);
      place.append(more);
    }
    const rule = ranking.correction === "none" ? "" : `Intervals are each pair's own; verdicts hold for all pairs of the board together (Holm's correction), and skills less than ${ranking.practical_tie} apart are tied.`;
    return section("Comparisons", rule && html("p", { class: "soft" }, rule), place);
  }

  const judged = verdict => (verdict ? html("span", { class: verdict }, verdict) : html("span", { class: "soft" }, "not ranked together"));

  const REPOSITORY = /^[A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*$/, COMMIT = /^[0-9a-f]{40}$/;

  function repository({ repo, commit, published }) {
    if (!repo) return published ? "part of the package; not on the Hub" : "not on the Hub";
    if (!REPOSITORY.test(repo) || (commit && !COMMIT.test(commit))) return bdi(repo, 200);
    const address = `https://huggingface.co/datasets/${repo}${commit ? `/tree/${commit}` : ""}`;
    return html("a", { href: address, rel: "noopener noreferrer" }, bdi(repo));
  }

  // What denied the predictor access to the held-out trials while it ran.
  const ISOLATION = { landlock: "Landlock: the kernel denied the predictor access to the held-out trials", none: "none: nothing denied the predictor access" };
  for (const also of ["seccomp", "namespaces", "seccomp+namespaces"]) {
    ISOLATION[`landlock+${also}`] = `Landlock, ${also.replace("+", ", ")}: the kernel denied the predictor access to the held-out trials and other processes`;
  }
  const isolation = kept => (Object.hasOwn(ISOLATION, kept) ? ISOLATION[kept] : bdi(kept, 200));

  // Only an address of the web becomes a link.
  const ADDRESS = /^https?:\/\/[\w.~:/?#@!$&*+,;=%-]+$/;
  const address = url => (ADDRESS.test(url) ? html("a", { href: url, rel: "noopener noreferrer nofollow" }, bdi(url, 300)) : bdi(url, 300));

  // The package that a method is from, where it is none of this package.
  function methodCode(found) {
    if (!found) return [];
    const { distribution, version, commit, dirty, ...rest } = found;
    const places = [["address", rest.url], ["repository", rest.repository], ["paper", rest.paper]].filter(([, url]) => url);
    return [
      ["predictor's package", [bdi(distribution ?? "not a package", 200), " ", bdi(version ?? "", 80)]],
      ...places.map(([name, url]) => [`its ${name}`, address(url)]),
      ["its commit", commit ? [code(commit, 80), dirty ? " with changes" : ""] : "not recorded"],
      ["its files", text.plural(Object.keys(rest.files).length + rest.omitted_files, "source file")],
    ];
  }

  function provenance(row, details) {
    const { board } = row;
    return html("section", { class: "wide" }, html("h3", {}, "Provenance"),
      dom.list([
        ["dataset", [bdi(board.dataset, 200), board.published ? "" : " (local: not published)"]], ["repository", repository(board)],
        ["revision", board.commit ? code(board.commit, 80) : "–"], ["digest", code(board.digest, 80)], ["protocol", text.clean(board.protocol, 20)],
        ["isolation of its runs", [...new Set(details.provenance.map(origin => origin.isolation))].map((kept, index) => [index ? "; " : "", isolation(kept)])],
      ]),
      details.provenance.map(origin => html("details", {}, html("summary", {}, `Seed ${text.clean(origin.seed, 20)}`), dom.list([
        ["record", code(origin.record, 200)],
        ["tipl-bench", origin.commit ? [code(origin.commit, 80), origin.dirty ? " with changes" : ""] : "commit not recorded"],
        ["forecasts sha256", code(origin.forecasts_sha256, 80)],
        ["machine", [bdi(origin.gpu ?? origin.cpu, 200), `, ${text.plural(origin.threads, "thread")}`]],
        ...methodCode(origin.code),
        ["validation runs before it", origin.validation_runs === null ? "not recorded" : text.count(origin.validation_runs)],
        ["isolation", isolation(origin.isolation)], ["Python", [bdi(origin.python, 80), ", ", bdi(origin.platform, 200)]],
        ["packages", html("ul", { class: "plain" }, Object.entries(origin.packages).map(([name, version]) => html("li", {}, code(`${name} ${version}`, 200))))],
      ]))));
  }

  function evidence(row, details) {
    const items = details.evidence.map(({ kind, text: said, ...rest }) => html("li", {}, html("b", {}, bdi(kind, 80)), ": ", bdi(said, 2000),
      Object.keys(rest).length > 0 && dom.list(Object.entries(rest).map(([name, value]) => [bdi(name, 80), bdi(typeof value === "object" ? JSON.stringify(value) : value, 2000)]))));
    return html("section", { class: "wide" }, html("h3", {}, "Evidence"), row.reproduction && html("p", {}, "Run again from its record: ", bdi(row.reproduction, 400), "."), row.confirmation && html("p", {}, "Run on fresh trials: ", bdi(row.confirmation, 400), "."), items.length ? html("ul", {}, items) : html("p", {}, "None beyond the record."));
  }

  const PURPOSE = {
    run: "Run it yourself", reproduce: "Reproduce this row: run it again from its record, and compare",
    verify: "Verify a run folder, here the one that the first command writes: score its forecasts again",
  };
  const DATASET = /^[a-z0-9][a-z0-9./-]*$/;

  function commands(row, details) {
    const { dataset, published } = row.board;
    const known = Object.entries(PURPOSE).filter(([name]) => details.commands[name]?.length);
    return html("section", { class: "wide" }, html("h3", {}, "Commands"),
      html("p", { class: "soft" }, "Run these in a clone of the project, which has the records in ", code("leaderboard/results"),
        ". It has the sha256 of the forecasts but not the forecasts: ", code("verify"), " needs a run folder, yours or the submitter's."),
      !published && DATASET.test(dataset) && command("First collect the dataset, which is not published; reproduce refuses any other bytes", `tipl-bench datasets collect ${dataset}`),
      known.map(([name, purpose]) => bySeed(purpose, details.commands[name].map(one => text.clean(one)), details.seeds)));
  }

  // The first seed's command; those of the others fold away.
  function bySeed(purpose, [first, ...others], seeds) {
    const numbers = seeds.slice(1).map(seed => text.clean(seed, 20)).join(", ");
    return [command(purpose, first), others.length > 0 && html("details", {}, html("summary", {}, `The same for ${others.length > 1 ? "seeds" : "seed"} ${numbers}`),
      others.map((one, index) => command(`${purpose}, seed ${text.clean(seeds[index + 1], 20)}`, one)))];
  }

  // A command as it is shown is what is copied: a hidden line break would run at once where it is pasted.
  function command(purpose, shown) {
    const place = html("code", { dir: "ltr" }, html("bdi", {}, shown));
    return html("div", { class: "command" }, html("p", {}, purpose), html("pre", { tabindex: "0", "aria-label": purpose }, place), copying.button("Copy", `Copy: ${purpose}`, shown, place));
  }

  return { options, cost, seeds, layers, positions, judged, comparisons, provenance, evidence, commands };
})();
