// Reads content as a Helia node that speaks HTTP alone, and verifies every block by its CID, as Helia does.
//
// The one argument is JSON: `gateways` and `routers` (lists of URLs), and `reads`, each with a `cid` and, if wished, a `path` in it,
// `offset` and `length`, or `list`. Prints one JSON line a read: what was read (or its names), or the error.
import { createHash } from 'node:crypto'
import { fallbackRouter } from '@helia/fallback-router'
import { withHTTP } from '@helia/http'
import { unixfs } from '@helia/unixfs'
import { createHeliaLight } from 'helia'
import { CID } from 'multiformats/cid'

const TIMEOUT_MS = 20_000
const job = JSON.parse(process.argv[2])
const helia = withHTTP(createHeliaLight(), {
  allowInsecure: true,
  allowLocal: true,
  delegatedRouters: job.routers,
  recursiveGateways: []
})
if (job.gateways.length > 0) helia.addRouter(fallbackRouter({ gateways: job.gateways, shuffle: false }))
// Helia 7 waits for ever where it knows no router but a fallback.
if (job.routers.length === 0) helia.addRouter({ name: 'nothing', async * findProviders () {} })
await helia.start()
const fs = unixfs(helia)

async function read ({ cid, list, ...options }) {
  const root = CID.parse(cid)
  options.signal = AbortSignal.timeout(TIMEOUT_MS)
  if (list) {
    const names = []
    for await (const entry of fs.ls(root, options)) names.push(entry.name)
    return { names }
  }
  const hash = createHash('sha256')
  let sizeBytes = 0
  for await (const piece of fs.cat(root, options)) {
    hash.update(piece)
    sizeBytes += piece.length
  }
  return { size_bytes: sizeBytes, sha256: hash.digest('hex') }
}

for (const wanted of job.reads) {
  const outcome = await read(wanted).catch(error => ({ error: `${error.name}: ${error.message}` }))
  console.log(JSON.stringify(outcome))
}
await helia.stop()
