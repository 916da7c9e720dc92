/* A worker on libgearman: worker PORT FUNCTION BEHAVIOUR [TIMEOUT]; prints "HANDLE UNIQUE HEX-OF-WORKLOAD" per job. */
#include <libgearman/gearman.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void print_job(gearman_job_st *job) {
  const unsigned char *workload = gearman_job_workload(job);
  printf("%s %s ", gearman_job_handle(job), gearman_job_unique(job));
  for (size_t n = 0; n < gearman_job_workload_size(job); n++) printf("%02x", workload[n]);
  printf("\n");
  fflush(stdout);
}

/* The workload twice. */
static gearman_return_t twice(gearman_job_st *job, void *context) {
  (void)context;
  print_job(job);
  size_t size = gearman_job_workload_size(job);
  char *result = malloc(2 * size + 1);
  memcpy(result, gearman_job_workload(job), size);
  memcpy(result + size, gearman_job_workload(job), size);
  gearman_return_t code = gearman_job_send_complete(job, result, 2 * size);
  free(result);
  return code;
}

/* A status, some data and a warning before the end. */
static gearman_return_t progress(gearman_job_st *job, void *context) {
  (void)context;
  print_job(job);
  gearman_job_send_status(job, 1, 4);
  gearman_job_send_data(job, "part", 4);
  gearman_job_send_warning(job, "careful", 7);
  return gearman_job_send_complete(job, "end", 3);
}

static gearman_return_t fail(gearman_job_st *job, void *context) {
  (void)context;
  print_job(job);
  return GEARMAN_FAIL;
}

static gearman_return_t exception(gearman_job_st *job, void *context) {
  (void)context;
  print_job(job);
  return gearman_job_send_exception(job, "why", 3);
}

/* Reports 3/10 and goes on when a file called "go" appears. */
static gearman_return_t slow(gearman_job_st *job, void *context) {
  (void)context;
  gearman_job_send_status(job, 3, 10);
  print_job(job);
  while (access("go", F_OK) != 0) usleep(1000);
  return GEARMAN_SUCCESS;
}

/* Split the workload at its blanks for the reducer; and put its results together again. */
static gearman_return_t split(gearman_job_st *job, void *context) {
  (void)context;
  print_job(job);
  const char *start = gearman_job_workload(job), *end = start + gearman_job_workload_size(job);
  for (const char *at = start; at <= end; at++) {
    if (at < end && *at != ' ') continue;
    if (gearman_failed(gearman_job_send_data(job, start, at - start))) return GEARMAN_ERROR;
    start = at + 1;
  }
  return GEARMAN_SUCCESS;
}

static gearman_return_t join(gearman_aggregator_st *aggregator, gearman_task_st *task, gearman_result_st *result) {
  (void)aggregator;
  char text[10000] = "";
  for (; task; task = gearman_next(task)) {
    gearman_result_st *part = gearman_task_result(task);
    if (part) strncat(text, gearman_result_value(part), gearman_result_size(part));
  }
  return gearman_result_store_value(result, text, strlen(text));
}

int main(int argc, char **argv) {
  const char *name = argv[2], *behaviour = argv[3];
  gearman_worker_st *worker = gearman_worker_create(NULL);
  if (gearman_failed(gearman_worker_add_server(worker, "127.0.0.1", atoi(argv[1])))) return 1;
  gearman_worker_set_identifier(worker, "c-worker", 8);
  if (getenv("NAMESPACE")) gearman_worker_set_namespace(worker, getenv("NAMESPACE"), strlen(getenv("NAMESPACE")));
  gearman_function_t function = !strcmp(behaviour, "twice")      ? gearman_function_create(twice)
                                : !strcmp(behaviour, "progress") ? gearman_function_create(progress)
                                : !strcmp(behaviour, "fail")     ? gearman_function_create(fail)
                                : !strcmp(behaviour, "slow")     ? gearman_function_create(slow)
                                : !strcmp(behaviour, "split")    ? gearman_function_create_partition(split, join)
                                                                 : gearman_function_create(exception);
  unsigned timeout = argc > 4 ? atoi(argv[4]) : 0;
  gearman_worker_define_function(worker, name, strlen(name), function, timeout, NULL);
  for (;;) {
    gearman_return_t code = gearman_worker_work(worker);
    if (gearman_success(code)) continue;
    fprintf(stderr, "%s\n", gearman_worker_error(worker));
    usleep(10000);
  }
}
