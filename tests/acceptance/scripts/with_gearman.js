// A client and a worker on npm's gearman; see languages.py for the arguments.
const fs = require('fs')
const gearman = require('gearman')
const [role, port, name, mode, unique] = process.argv.slice(2)
const connection = gearman('127.0.0.1', Number(port))

function client() {
  const parts = []
  const background = mode.startsWith('bg') || mode === 'status'
  const priority = ['high', 'low'].find((word) => mode.endsWith(word)) || 'normal'
  const end = (code) => { process.exitCode = code; connection.close() }
  connection.on('JOB_CREATED', (handle) => {
    if (mode === 'status') return connection.getJobStatus(handle)
    if (background) { console.log(handle); end(0) }
  })
  connection.on('STATUS_RES', (status) => { console.log(status.known, status.running); end(0) })
  connection.on('WORK_DATA', (job) => parts.push(job.payload))
  connection.on('WORK_COMPLETE', (job) => {
    process.stdout.write(Buffer.concat([...parts, Buffer.from(job.payload || '')]))
    end(0)
  })
  connection.on('WORK_FAIL', () => end(1))
  connection.on('WORK_EXCEPTION', () => end(1))
  connection.connect(() => {
    connection.submitJob(name, fs.readFileSync(0), { background, priority, unique_id: unique })
  })
}

function worker() {
  connection.on('JOB_ASSIGN', (job) => {
    const workload = Buffer.from(job.payload || '')
    console.log(job.handle, workload.toString('hex'))
    if (mode === 'twice') connection.sendWorkComplete(job.handle, Buffer.concat([workload, workload]))
    if (mode === 'fail') connection.sendWorkFail(job.handle)
    if (mode === 'exception') connection.sendWorkException(job.handle, 'why')
    if (mode === 'progress') {
      connection.sendWorkStatus(job.handle, '1', '4')
      connection.sendWorkData(job.handle, 'part')
      connection.sendWorkWarning(job.handle, 'careful')
      connection.sendWorkComplete(job.handle, 'end')
    }
    connection.preSleep()
  })
  connection.on('NOOP', () => connection.grabJob())
  connection.connect(() => {
    connection.setWorkerId('node-gearman-worker')
    connection.addFunction(name)
    connection.preSleep()
  })
}

role === 'worker' ? worker() : client()
