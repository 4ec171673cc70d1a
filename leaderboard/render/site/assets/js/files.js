// Files beside the page that hold a table, and how to cite it.
const files = (() => {
  const { html } = dom;
  const OWN = /^tables\/[a-z0-9.-]+\.csv$/;
  const place = document.getElementById("files");

  function link(key) {
    const path = Object.hasOwn(data.about.files, key) && data.about.files[key];
    return path && OWN.test(path) && html("a", { href: path, download: true }, "CSV");
  }

  function draw(now) {
    const across = data.across.get(now.view), own = link(across ? `overall-p${across.protocol}` : now.view);
    const { suite, datasets } = data.about.citations, dataset = Object.hasOwn(datasets, now.view) && datasets[now.view];
    place.replaceChildren(...[
      own && html("p", {}, "This table: ", own, data.boards.has(now.view) ? `, a line a row: ${data.boards.get(now.view).headline} phase, means over horizons.` : "."),
      html("details", {}, html("summary", {}, dataset ? "Cite the benchmark and this dataset" : "Cite the benchmark"),
        copying.block("BibTeX of the benchmark", suite.trimEnd()), dataset && copying.block("BibTeX of the dataset", dataset.trimEnd())),
    ].filter(Boolean));
  }

  return { link, draw };
})();
