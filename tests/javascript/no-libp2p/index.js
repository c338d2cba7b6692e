// Stands where Helia would load libp2p and Bitswap: a client over HTTP alone installs neither (41 MB instead of 360), and a
// path that would need them fails instead of going another way.
const absent = () => { throw new Error('libp2p is not installed: this client has HTTP alone') }

export { absent as withBitswap, absent as withLibp2p }
