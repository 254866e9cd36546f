/** Skips the running test, or all tests of a hook's suite; the report says why behind their names. */
export function skipBecause(context: Mocha.Context, reason: string): never {
  const running = context.test;
  const isHook = running !== undefined && "type" in running && running.type === "hook";
  const tell = (test: Mocha.Runnable): void => {
    test.title += ` (not tried: ${reason})`;
  };
  if (isHook) running.parent?.eachTest(tell);
  else if (running !== undefined) tell(running);
  return context.skip();
}
