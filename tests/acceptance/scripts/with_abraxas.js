// A client and a worker on npm's abraxas; see languages.py for the arguments.
const fs = require('fs')
const abraxas = require('abraxas')
const [role, port, name, mode, unique] = process.argv.slice(2)
const connection = abraxas.Client.connect({ servers: ['127.0.0.1:' + port] })

function client() {
  const background = mode.startsWith('bg')
  const options = { priority: ['high', 'low'].find((word) => mode.endsWith(word)), uniqueid: unique }
  const end = (code) => { process.exitCode = code; connection.disconnect() }
  const ended = (error, result) => {
    if (error) return end(1)
    process.stdout.write(background ? result + '\n' : Buffer.from(result)) // an empty result comes as []
    end(0)
  }
  connection[background ? 'submitJobBg' : 'submitJob'](name, options, fs.readFileSync(0), ended)
}

function worker() {
  connection.setClientId('abraxas-worker')
  connection.registerWorker(name, (task) => {
    const workload = Buffer.from(task.payload || '')
    console.log(task.jobid, workload.toString('hex'))
    if (mode === 'twice') task.end(Buffer.concat([workload, workload]))
    if (mode === 'exception') task.error('why')
    if (mode === 'progress') {
      task.status(0.25)
      task.warn('careful')
      task.end('end')
    }
  })
}

role === 'worker' ? worker() : client()
