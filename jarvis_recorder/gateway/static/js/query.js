/**
 * The query of an address or a request: what is empty is left out, a list has its name once for
 * each of its values.
 * @param {object} params
 */
export function queryOf(params) {
  const pairs = Object.entries(params).flatMap(([name, value]) =>
    [value].flat().filter((one) => one !== "" && one != null).map((one) => [name, one]),
  );
  return new URLSearchParams(pairs).toString();
}
