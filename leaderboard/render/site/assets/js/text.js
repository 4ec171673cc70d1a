// Texts and numbers as shown. Texts are untrusted: invisible characters and those that reorder their surroundings are made visible.
const text = (() => {
  const INVISIBLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;
  const STACKED = /(\p{M}{3})\p{M}+/gu; // marks piled over a letter cover the lines above
  const NONE = "–";

  function symbol(character) {
    const code = character.codePointAt(0);
    if (code < 0x20) return String.fromCodePoint(0x2400 + code); // the control pictures, such as ␀
    return `⟦U+${code.toString(16).toUpperCase().padStart(4, "0")}⟧`;
  }

  function clean(value, longest = 4000) {
    const shown = String(value).slice(0, 2 * longest).replace(INVISIBLE, symbol).replace(STACKED, "$1");
    return shown.length > longest ? shown.slice(0, longest) + "…" : shown;
  }

  function fixed(value, digits) {
    if (!Number.isFinite(value)) return NONE;
    const shown = value.toFixed(digits);
    return Number(shown) === 0 ? shown.replace("-", "") : shown.replace("-", "−");
  }

  const skill = value => fixed(value, 3);
  const points = value => fixed(value, Math.abs(value) < 10 ? 2 : 1); // units of return
  const count = value => (Number.isFinite(value) ? value.toLocaleString("en-US") : NONE);

  function seconds(value) {
    if (!Number.isFinite(value)) return NONE;
    if (value > 0 && value < 0.01) return "<0.01";
    return value >= 100 ? Math.round(value).toLocaleString("en-US") : value.toFixed(value < 1 && value > 0 ? 2 : 1);
  }

  function scientific(value) {
    if (!Number.isFinite(value)) return NONE;
    return value === 0 ? "0" : value.toExponential(2).replaceAll("-", "−").replace("e+", "e");
  }

  const bytes = value => (Number.isFinite(value) ? `${(value / 2 ** 30).toFixed(2)} GiB` : NONE);
  const interval = (low, high, format) => (Number.isFinite(low) && Number.isFinite(high) ? `[${format(low)}, ${format(high)}]` : "");
  const plural = (number, word) => `${count(number)} ${word}${number === 1 ? "" : "s"}`;

  const probability = value => (!Number.isFinite(value) ? NONE : value < 0.001 ? "<0.001" : value.toFixed(3));

  const capital = word => word.charAt(0).toUpperCase() + word.slice(1);

  return { clean, capital, fixed, skill, points, count, seconds, scientific, bytes, interval, plural, probability, NONE };
})();
