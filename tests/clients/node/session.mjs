// One session of an official TypeScript client with hostup-mcp: list, run, wait, read later.
//
// Takes one JSON object as its argument:
//   sdk        "v1" (@modelcontextprotocol/sdk) or "v2" (@modelcontextprotocol/client)
//   era        for v2: "legacy", "auto", or a revision to be pinned
//   transport  "stdio", "http" or "sse"
//   command, args, env    for stdio: the server to start
//   url, token            for http and sse
// Prints one JSON object with what the client saw.

const given = JSON.parse(process.argv[2]);
const { client, transport } = await { v1, v2 }[given.sdk]();

const seen = { progress: [] };
const progress = { onprogress: (report) => seen.progress.push(report) };

// v1 says only to its transport what was agreed on.
const told = transport.setProtocolVersion?.bind(transport);
transport.setProtocolVersion = (revision) => {
  seen.revision = revision;
  told?.(revision);
};

await client.connect(transport);
seen.revision = client.getNegotiatedProtocolVersion?.() ?? seen.revision;
seen.server = client.getServerVersion();
seen.instructions = client.getInstructions();
seen.tools = (await client.listTools()).tools.map((tool) => tool.name);
seen.machines = await call('list_vps', {});
const vps_id = seen.machines.vps.find((vps) => vps.power_state === 'running').id;
seen.short = await call('vps_exec', { vps_id, command: 'uname -a' });
seen.long = await call('vps_exec', { vps_id, command: 'sleep 3 && date -u', wait_seconds: 1 });
seen.later = await call('vps_exec_result', { exec_id: seen.long.exec_id });
seen.refused = await result('vps_exec', { vps_id, command: 'rm -rf /var/log' });
await client.close();
console.log(JSON.stringify(seen));

function result(name, args) {
  const request = { name, arguments: args };
  // The second argument is the result's schema in v1; v2 has none.
  return given.sdk === 'v1'
    ? client.callTool(request, undefined, progress)
    : client.callTool(request, progress);
}

async function call(name, args) {
  const { isError, structuredContent, content } = await result(name, args);
  if (isError) throw new Error(content[0].text);
  return structuredContent;
}

async function v1() {
  const { Client } = await import('@modelcontextprotocol/sdk/client/index.js');
  const stdio = await import('@modelcontextprotocol/sdk/client/stdio.js');
  const http = await import('@modelcontextprotocol/sdk/client/streamableHttp.js');
  const sse = await import('@modelcontextprotocol/sdk/client/sse.js');
  return {
    client: new Client({ name: 'typescript-v1', version: '1' }),
    transport: make({ ...stdio, ...http, ...sse }),
  };
}

async function v2() {
  const api = await import('@modelcontextprotocol/client');
  const stdio = await import('@modelcontextprotocol/client/stdio');
  const mode = ['legacy', 'auto'].includes(given.era) ? given.era : { pin: given.era };
  return {
    client: new api.Client({ name: 'typescript-v2', version: '1' }, { versionNegotiation: { mode } }),
    transport: make({ ...stdio, ...api }),
  };
}

function make({ StdioClientTransport, StreamableHTTPClientTransport, SSEClientTransport }) {
  if (given.transport === 'stdio') {
    const { command, args, env } = given;
    return new StdioClientTransport({ command, args, env, stderr: 'inherit' });
  }
  const Transport = { http: StreamableHTTPClientTransport, sse: SSEClientTransport }[given.transport];
  const requestInit = { headers: { Authorization: `Bearer ${given.token}` } };
  return new Transport(new URL(given.url), { requestInit });
}
