// From values to places on paper, and the values worth naming on an axis.
const scales = (() => {
  function linear([low, high], [from, to]) {
    const factor = high === low ? 0 : (to - from) / (high - low);
    return Object.assign(value => from + (value - low) * factor, { low, high, ticks: ticks(low, high) });
  }

  // `steps` are the values of a decade that are named.
  function log([low, high], range, steps = [1]) {
    const place = linear([Math.log10(low), Math.log10(high)], range);
    const marks = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high) + 1e-9; power++) {
      for (const step of steps) if (step * 10 ** power >= low * (1 - 1e-9) && step * 10 ** power <= high * (1 + 1e-9)) marks.push(step * 10 ** power);
    }
    return Object.assign(value => place(Math.log10(value)), { low, high, ticks: marks });
  }

  // Round values about a fifth of the span apart.
  function ticks(low, high, wanted = 6) {
    const rough = (high - low) / wanted;
    if (!(rough > 0)) return [low];
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map(factor => factor * power).find(candidate => candidate >= rough);
    const marks = [];
    for (let number = Math.ceil(low / step - 1e-9); number * step <= high + step * 1e-9; number++) marks.push(number * step);
    return marks;
  }

  // The span of values with a little air, `fixed` values included.
  function span(values, fixed = []) {
    let low = Infinity, high = -Infinity;
    for (const value of [...fixed, ...values]) {
      if (!Number.isFinite(value)) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
    if (low > high) return [0, 1];
    const air = (high - low || Math.abs(high) || 1) * 0.05;
    return [low - air, high + air];
  }

  return { linear, log, span };
})();
