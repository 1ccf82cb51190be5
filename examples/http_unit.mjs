// An execution unit in plain Node, from section 8 of the requirements alone: execute, pause, cancel, status, callback.
// Run it, then register it:  node examples/http_unit.mjs 8080
//   curl -X POST localhost:3000/api/execution-units -H 'content-type: application/json' \
//     -d '{"unitType": "NODE_COUNTER", "unitName": "node-1", "capacity": 2, "endpoint": "http://127.0.0.1:8080",
//          "taskTypes": [{"taskType": "NODE_COUNT", "canPause": true, "canCheckpoint": true}]}'
import { createServer } from "node:http";

const server = process.env.TASK_MANAGER_URL ?? "http://127.0.0.1:3000";
const tasks = new Map(); // taskId -> { status, n, to, timer }

const callBack = (id, body) => fetch(`${server}/api/tasks/${id}/status`,
  { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

function work(id, task) {
  if (++task.n < task.to) return;
  stop(task, "SUCCESS");
  callBack(id, { status: "SUCCESS", result: { counted: task.n }, errorMessage: null });
}
function stop(task, status) { clearInterval(task.timer); task.status = status; }
const view = (task) => ({ status: task.status, progress: task.n / task.to, checkpoint: { n: task.n } });

createServer(async (request, response) => {
  const [, verb, named] = request.url.split("/");
  const body = JSON.parse((await request.toArray()).join("") || "{}");
  const id = Number(named ?? body.taskId);
  if (verb === "execute") {
    const task = { status: "RUNNING", n: body.checkpoint?.n ?? 0, to: body.config.to };
    task.timer = setInterval(work, 10, id, task);
    tasks.set(id, task);
  }
  const task = tasks.get(id);
  if (task && verb === "pause") stop(task, "PAUSED");
  if (task && verb === "cancel") stop(task, "CANCELLED");
  response.writeHead(task && verb !== "resume" ? 200 : 404, { "content-type": "application/json" });
  response.end(JSON.stringify(task ? view(task) : {}));
}).listen(Number(process.argv[2] ?? 8080), "127.0.0.1", function () { console.log(`listening on ${this.address().port}`); });
