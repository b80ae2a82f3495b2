// The server's counters as /metrics tells them; those of the media plane are up to a second old.
export async function counters(url) {
  const text = await (await fetch(`${url}/metrics`)).text();
  const series = text.split('\n').filter((line) => line && !line.startsWith('#'));
  return {
    // All series of that name, whatever their labels.
    sum: (name) =>
      series
        .map((line) => /^consilium_(\w+)(?:\{.*\})? (\S+)$/.exec(line))
        .filter((found) => found?.[1] === name)
        .reduce((sum, [, , value]) => sum + Number(value), 0),
  };
}
