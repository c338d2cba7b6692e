// Uploads a file with the tus project's client: in chunks, paused in the middle and taken up again by its address, or several parts at once.
import fs from 'node:fs'
import tus from 'tus-js-client'

const { URL_OF_TUS: endpoint, KEY: key, FILE: file, NAME: name, PARTS: parts, PAUSE: pause } = process.env
const told = { paused: 0, chunks: 0, url: '' }

function options (done, more) {
  return {
    endpoint,
    headers: { authorization: `Bearer ${key}` },
    metadata: { filename: name },
    retryDelays: [],
    storeFingerprintForResuming: false,
    onError: error => { console.error(String(error)); process.exit(1) },
    onChunkComplete: () => { told.chunks += 1 },
    onSuccess: done,
    ...more
  }
}

function start (more, prepare = () => {}) {
  return new Promise(resolve => {
    const upload = new tus.Upload(fs.createReadStream(file), options(() => resolve(upload), more))
    prepare(upload, resolve)
    upload.start()
  })
}

const size = fs.statSync(file).size
const chunkSize = 256 * 1024
let upload
if (parts) {
  upload = await start({ parallelUploads: Number(parts) })
} else if (pause) {
  const paused = await start({ chunkSize, uploadSize: size }, (made, resolve) => {
    made.options.onChunkComplete = (_size, accepted) => {
      told.chunks += 1
      if (!told.paused) { told.paused = accepted; made.abort().then(() => resolve(made)) }
    }
  })
  upload = await start({ chunkSize, uploadSize: size, uploadUrl: paused.url })
} else {
  upload = await start({ chunkSize, uploadSize: size })
}
told.url = upload.url
console.log(JSON.stringify(told))
