// A client and a worker on npm's gearmanode; see languages.py for the arguments.
const fs = require('fs')
const gearmanode = require('gearmanode')
const [role, port, name, mode, unique] = process.argv.slice(2)
for (const part of ['Client', 'Worker', 'Job', 'JobServer', 'LBStrategy', 'protocol']) {
  require('winston').loggers.get(part).silent = true
}

function client() {
  const connection = gearmanode.client({ port: Number(port) })
  const background = mode.startsWith('bg') || mode === 'status'
  const priority = (['high', 'low'].find((word) => mode.endsWith(word)) || 'normal').toUpperCase()
  const options = { background, priority }
  if (unique) options.unique = unique
  const job = connection.submitJob(name, fs.readFileSync(0), options)
  const end = (code) => { process.exitCode = code; connection.close() }
  job.on('created', () => {
    if (mode === 'status') return job.getStatus()
    if (background) { console.log(job.handle); end(0) }
  })
  job.on('status', (status) => {
    if (mode === 'status') { console.log(Number(status.known), Number(status.running)); end(0) }
  })
  job.on('workData', (data) => process.stdout.write(data))
  job.on('complete', () => { process.stdout.write(job.response); end(0) })
  job.on('failed', () => end(1))
  job.on('exception', () => end(1))
  connection.on('error', (error) => { console.error(error); end(3) })
}

function worker() {
  const connection = gearmanode.worker({ port: Number(port) })
  connection.setWorkerId('gearmanode-worker')
  connection.addFunction(name, (job) => {
    const workload = Buffer.from(job.payload || '')
    console.log(job.handle, workload.toString('hex'))
    if (mode === 'twice') job.workComplete(workload.toString() + workload.toString())
    if (mode === 'fail') job.reportError()
    if (mode === 'exception') job.reportException('why')
    if (mode === 'progress') {
      job.reportStatus(1, 4)
      job.sendWorkData('part')
      job.reportWarning('careful')
      job.workComplete('end')
    }
  })
}

role === 'worker' ? worker() : client()
