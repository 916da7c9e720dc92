/* A client on libgearman: client PORT FUNCTION MODE [ARGUMENT], the workload on standard input. */
#include <libgearman/gearman.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int failed(gearman_client_st *client, gearman_return_t code) {
  if (gearman_success(code)) return 0;
  fprintf(stderr, "%d %s: %s\n", code, gearman_strerror(code), gearman_client_error(client));
  return 1;
}

static gearman_return_t task_complete(gearman_task_st *task) {
  printf("complete %.*s\n", (int)gearman_task_data_size(task), (const char *)gearman_task_data(task));
  return GEARMAN_SUCCESS;
}

static gearman_return_t task_data(gearman_task_st *task) {
  printf("data %.*s\n", (int)gearman_task_data_size(task), (const char *)gearman_task_data(task));
  return GEARMAN_SUCCESS;
}

static gearman_return_t task_warning(gearman_task_st *task) {
  printf("warning %.*s\n", (int)gearman_task_data_size(task), (const char *)gearman_task_data(task));
  return GEARMAN_SUCCESS;
}

static gearman_return_t task_status(gearman_task_st *task) {
  printf("status %u/%u\n", gearman_task_numerator(task), gearman_task_denominator(task));
  return GEARMAN_SUCCESS;
}

static gearman_return_t task_fail(gearman_task_st *task) {
  (void)task;
  printf("fail\n");
  return GEARMAN_SUCCESS;
}

static gearman_return_t task_exception(gearman_task_st *task) {
  printf("exception %.*s\n", (int)gearman_task_data_size(task), (const char *)gearman_task_data(task));
  return GEARMAN_SUCCESS;
}

/* fg, high, low: print the result. */
static int foreground(gearman_client_st *client, const char *function, const char *mode, const char *unique,
                      const char *workload, size_t size) {
  size_t result_size = 0;
  gearman_return_t code = GEARMAN_SUCCESS;
  char *result = !strcmp(mode, "high") ? gearman_client_do_high(client, function, unique, workload, size, &result_size, &code)
                 : !strcmp(mode, "low") ? gearman_client_do_low(client, function, unique, workload, size, &result_size, &code)
                                        : gearman_client_do(client, function, unique, workload, size, &result_size, &code);
  fwrite(result, 1, result_size, stdout);
  free(result);
  return failed(client, code);
}

/* bg, bg-high, bg-low: print the handle. */
static int background(gearman_client_st *client, const char *function, const char *mode, const char *unique,
                      const char *workload, size_t size) {
  gearman_job_handle_t handle;
  gearman_return_t code =
      !strcmp(mode, "bg-high") ? gearman_client_do_high_background(client, function, unique, workload, size, handle)
      : !strcmp(mode, "bg-low") ? gearman_client_do_low_background(client, function, unique, workload, size, handle)
                                : gearman_client_do_background(client, function, unique, workload, size, handle);
  if (failed(client, code)) return 1;
  printf("%s\n", handle);
  return 0;
}

/* epoch SECONDS: a job for so many seconds from now; prints the handle. */
static int epoch(gearman_client_st *client, const char *function, const char *seconds, const char *workload,
                 size_t size) {
  gearman_task_attr_t attributes = gearman_task_attr_init_epoch(time(NULL) + atoi(seconds), GEARMAN_JOB_PRIORITY_NORMAL);
  gearman_argument_t arguments = gearman_argument_make(NULL, 0, workload, size);
  gearman_task_st *task = gearman_execute(client, function, strlen(function), NULL, 0, &attributes, &arguments, NULL);
  if (task == NULL) return failed(client, gearman_client_error_code(client));
  printf("%s\n", gearman_task_job_handle(task));
  return 0;
}

/* reduce REDUCER: split by the function, run by the reducer; print the result. */
static int reduce(gearman_client_st *client, const char *function, const char *reducer, const char *workload,
                  size_t size) {
  gearman_argument_t arguments = gearman_argument_make(NULL, 0, workload, size);
  gearman_task_st *task = gearman_execute_by_partition(client, function, strlen(function), reducer, strlen(reducer),
                                                       NULL, 0, NULL, &arguments, NULL);
  if (task == NULL || failed(client, gearman_task_return(task))) return 1;
  gearman_result_st *result = gearman_task_result(task);
  fwrite(gearman_result_value(result), 1, gearman_result_size(result), stdout);
  return 0;
}

/* tasks COUNT: so many tasks at once, with all callbacks; print what they reported. */
static int tasks(gearman_client_st *client, const char *function, const char *count, const char *workload,
                 size_t size) {
  gearman_client_set_complete_fn(client, task_complete);
  gearman_client_set_data_fn(client, task_data);
  gearman_client_set_warning_fn(client, task_warning);
  gearman_client_set_status_fn(client, task_status);
  gearman_client_set_fail_fn(client, task_fail);
  gearman_client_set_exception_fn(client, task_exception);
  for (int n = 0; n < atoi(count); n++) {
    gearman_return_t code;
    gearman_client_add_task(client, NULL, NULL, function, NULL, workload, size, &code);
    if (failed(client, code)) return 1;
  }
  return failed(client, gearman_client_run_tasks(client));
}

static int status(gearman_client_st *client, const char *handle) {
  bool known, running;
  unsigned numerator, denominator;
  gearman_return_t code = gearman_client_job_status(client, handle, &known, &running, &numerator, &denominator);
  printf("%d %d %u %u\n", known, running, numerator, denominator);
  return code == GEARMAN_JOB_EXISTS || code == GEARMAN_IN_PROGRESS ? 0 : failed(client, code);
}

static int status_of_unique(gearman_client_st *client, const char *unique) {
  gearman_status_t found = gearman_client_unique_status(client, unique, strlen(unique));
  printf("%d %d %u %u\n", gearman_status_is_known(found), gearman_status_is_running(found),
         gearman_status_numerator(found), gearman_status_denominator(found));
  return 0;
}

int main(int argc, char **argv) {
  static char buffer[8 << 20];
  size_t size = fread(buffer, 1, sizeof buffer, stdin);
  const char *workload = size ? buffer : NULL; /* libgearman refuses an empty workload that is not NULL */
  const char *function = argv[2], *mode = argv[3], *argument = argc > 4 ? argv[4] : NULL;
  gearman_client_st *client = gearman_client_create(NULL);
  if (failed(client, gearman_client_add_server(client, "127.0.0.1", atoi(argv[1])))) return 1;
  if (getenv("NAMESPACE")) gearman_client_set_namespace(client, getenv("NAMESPACE"), strlen(getenv("NAMESPACE")));
  if (getenv("EXCEPTIONS") && !gearman_client_set_server_option(client, "exceptions", 10)) return 1;
  gearman_client_set_timeout(client, 20000);
  int code;
  if (!strncmp(mode, "bg", 2)) code = background(client, function, mode, argument, workload, size);
  else if (!strcmp(mode, "epoch")) code = epoch(client, function, argument, workload, size);
  else if (!strcmp(mode, "reduce")) code = reduce(client, function, argument, workload, size);
  else if (!strcmp(mode, "tasks")) code = tasks(client, function, argument, workload, size);
  else if (!strcmp(mode, "status")) code = status(client, argument);
  else if (!strcmp(mode, "status-unique")) code = status_of_unique(client, argument);
  else if (!strcmp(mode, "echo")) code = failed(client, gearman_client_echo(client, workload, size));
  else code = foreground(client, function, mode, argument, workload, size);
  gearman_client_free(client);
  return code;
}
