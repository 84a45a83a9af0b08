// Calls the functions that a script exports one after the other; prints a line of JSON for each:
//
//     node each.cjs SCRIPT [NAME ...]
"use strict";

const path = require("node:path");

async function main(script, ...names) {
  for (const [name, part] of Object.entries(require(path.resolve(script)))) {
    if (names.length && !names.includes(name)) continue;
    let error = "";
    try {
      await part();
    } catch (failure) {
      error = failure.stack;
    }
    console.log(JSON.stringify({ name, error }));
  }
}

main(...process.argv.slice(2));
