import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";

/** A TCP proxy before a mongod, which can lose replies and cut connections. */
export type LossyProxy = {
  readonly uri: string;
  /** Loses the replies to the next inserts into a loading dump, after the server has done them. */
  loseReplies(count: number): void;
  /** Replies lost so far. */
  lost(): number;
  /** Cuts every connection; new ones are welcome. */
  cut(): number;
  close(): Promise<void>;
};

/** Starts a proxy on a port of the loopback address. */
export async function startLossyProxy(port: number): Promise<LossyProxy> {
  const sockets = new Set<Socket>();
  let toLose = 0;
  let lost = 0;
  const proxy = createServer((client) => {
    const server = connect(port, "127.0.0.1");
    let loseNext = false;
    const end = (): void => {
      client.destroy();
      server.destroy();
      sockets.delete(client);
    };
    sockets.add(client);
    client.on("data", (chunk) => {
      // A request begins a chunk of its own, since the driver waits for each reply.
      if (toLose > 0 && isLoadingInsert(chunk)) {
        toLose--;
        loseNext = true;
      }
      server.write(chunk);
    });
    server.on("data", (chunk) => {
      if (loseNext) {
        lost++;
        end();
      } else client.write(chunk);
    });
    for (const socket of [client, server]) {
      socket.on("error", end);
      socket.on("close", end);
    }
  });
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  const own = (proxy.address() as AddressInfo).port;
  return {
    uri: `mongodb://127.0.0.1:${own}/?directConnection=true`,
    loseReplies: (count) => (toLose = count),
    lost: () => lost,
    cut: () => {
      const count = sockets.size;
      for (const socket of sockets) socket.destroy();
      return count;
    },
    close: async () => {
      for (const socket of sockets) socket.destroy();
      proxy.close();
      await once(proxy, "close");
    },
  };
}

/** An OP_MSG whose first field is `insert`, into a collection that loads. */
function isLoadingInsert(chunk: Buffer): boolean {
  const head = chunk.subarray(0, 300).toString("latin1");
  return head.includes("\x02insert\0") && head.includes(".loading\0");
}
