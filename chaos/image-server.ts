import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Serves images on loopback, which the worker is told to allow. */
export interface ImageServer {
  urlOf(name: string): string;
  close(): Promise<void>;
}

export async function serveImages(images: ReadonlyMap<string, Buffer>): Promise<ImageServer> {
  const server = createServer((request, response) => {
    const image = images.get(decodeURIComponent(request.url?.slice(1) ?? ''));
    response.writeHead(image ? 200 : 404).end(image);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    urlOf: (name) => `http://127.0.0.1:${port}/${encodeURIComponent(name)}`,
    close: async () => {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}
