// A client and a worker on npm's node-gearman; see languages.py for the arguments.
const fs = require('fs')
const Gearman = require('node-gearman')
const [role, port, name, mode, unique] = process.argv.slice(2)
const connection = new Gearman('127.0.0.1', Number(port))

function client() {
  const background = mode.startsWith('bg')
  const priority = ['high', 'low'].find((word) => mode.endsWith(word))
  const job = connection.submitJob(name, fs.readFileSync(0), unique, { background, priority })
  if (background) {
    // The library keeps no handle of a background job.
    connection.receive_JOB_CREATED = (handle) => { console.log(handle); connection.close() }
  }
  const end = (code) => { process.exitCode = code; connection.close() }
  job.on('data', (data) => process.stdout.write(data))
  job.on('end', () => end(0))
  job.on('error', () => end(1))
}

function worker() {
  connection.registerWorker(name, (payload, job) => {
    const workload = Buffer.from(payload || '')
    console.log(job.handle, workload.toString('hex'))
    if (mode === 'twice') job.end(Buffer.concat([workload, workload]))
    if (mode === 'fail') job.error()
    if (mode === 'progress') {
      job.write('part')
      job.end('end')
    }
  })
}

role === 'worker' ? worker() : client()
