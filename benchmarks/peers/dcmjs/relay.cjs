// The relay that dcmjs-dimse's documentation leads to: each object is sent on, over an association of its own, before
// it is acknowledged. `node relay.cjs HOST PORT`: prints the port it listens on, ends with its standard input.
'use strict';
const net = require('node:net');
const { Client, Server, Scp, constants, log, requests, responses } = require('dcmjs-dimse');

const [host, port] = [process.argv[2], Number(process.argv[3])];
const EXPLICIT = '1.2.840.10008.1.2.1';
const OUT_OF_RESOURCES = 0xa700;

class Relay extends Scp {
  associationRequested(association) {
    for (const { context } of association.getPresentationContexts()) {
      const known = context.getTransferSyntaxUids().includes(EXPLICIT);
      const result = known
        ? constants.PresentationContextResult.Accept
        : constants.PresentationContextResult.RejectTransferSyntaxesNotSupported;
      context.setResult(result, known ? EXPLICIT : undefined);
    }
    this.sendAssociationAccept();
  }

  cStoreRequest(request, callback) {
    const answer = (status) => {
      const response = responses.CStoreResponse.fromRequest(request);
      response.setStatus(status);
      callback(response);
    };
    const onward = new requests.CStoreRequest(request.getDataset());
    const client = new Client();
    onward.on('response', (response) => answer(response.getStatus()));
    client.on('networkError', () => answer(OUT_OF_RESOURCES));
    client.addRequest(onward);
    client.send(host, port, 'RELAY', 'SINK');
  }

  associationReleaseRequested() {
    this.sendAssociationReleaseResponse();
  }
}

log.setLevel('silent');
const free = net.createServer().listen(0, '127.0.0.1', () => {
  const chosen = free.address().port;
  free.close(() => {
    const server = new Server(Relay);
    server.on('networkError', () => {});
    server.listen(chosen);
    console.log(chosen);
  });
});
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
