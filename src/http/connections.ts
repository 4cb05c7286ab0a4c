import type { Socket } from 'node:net';
import type { FastifyInstance, FastifyRequest } from 'fastify';

/**
 * Bounds how many connections there are. Where one more is too many, the oldest goes whose caller has shown no key: who
 * opens them and says nothing cannot keep out who has it.
 */
export function boundConnections(app: FastifyInstance, maxConnections: number): void {
  const open = new Set<Socket>();
  /** The oldest first. */
  const strangers = new Set<Socket>();

  app.server.on('connection', (socket: Socket) => {
    open.add(socket);
    strangers.add(socket);
    socket.once('close', () => {
      open.delete(socket);
      strangers.delete(socket);
    });
    if (open.size <= maxConnections) return;
    const [oldest = socket] = strangers;
    strangers.delete(oldest);
    oldest.destroy();
  });

  const know = async ({ hasShownKey, raw }: FastifyRequest) => {
    if (hasShownKey) strangers.delete(raw.socket);
  };
  app.addHook('onRequest', know);
  app.addHook('preHandler', know); // it may have been in the body
}
