// loop_node.js HOST PORT COUNT: as loop_asyncio.py
const http = require("http");
const [host, port, count] = process.argv.slice(2);
const now = () => Number(process.hrtime.bigint()) / 1e9;

function ask() {
  return new Promise((done) => {
    const request = http.get({ host, port: Number(port), agent: false, path: "/" }, (answer) => {
      answer.resume();
      answer.on("end", () => done(answer.statusCode === 200));
    });
    request.on("error", (error) => {
      console.error(error.message);
      done(false);
    });
  });
}

async function main() {
  const all = [];
  let gap = 0;
  let last = now();
  const ticker = setInterval(() => {
    gap = Math.max(gap, now() - last - 0.01);
    last = now();
  }, 10);
  await new Promise((done) => setTimeout(done, 50));
  gap = 0;
  const began = now();
  for (let i = 0; i < Number(count); i++) all.push(ask());
  const good = (await Promise.all(all)).filter(Boolean).length;
  clearInterval(ticker);
  console.log(good, now() - began, gap);
}

main();
