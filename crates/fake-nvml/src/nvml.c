/* A libnvidia-ml.so that reads its GPUs from a text file instead of from hardware.
 *
 * The file lies beside the library: <this .so>.script. It is read once, in nvmlInit. src/lib.rs documents the lines
 * and writes them. Only the functions that a sampler calls exist; a missing symbol is reported by the binding as such.
 *
 * Times in the script are seconds since `origin` (Unix nanoseconds; the moment of nvmlInit when not given). A value
 * is a list of segments; the last one that has begun counts, and a ramp interpolates, so that a value can tell when
 * it was read. Instead of segments a GPU may follow a `live` file, which a simulator rewrites as it goes.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define API __attribute__((visibility("default"))) int

/* nvmlReturn_t */
enum { OK = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NO_PERMISSION = 4, NOT_FOUND = 6,
       INSUFFICIENT_SIZE = 7, DRIVER_NOT_LOADED = 9, TIMEOUT = 10, GPU_IS_LOST = 15, RESET_REQUIRED = 16,
       NO_DATA = 21, UNKNOWN = 999 };
/* nvmlValueType_t */
enum { AS_DOUBLE = 0, AS_UINT = 1, AS_ULONG = 2, AS_ULONGLONG = 3, AS_LONGLONG = 4, AS_INT = 5 };
/* nvmlEventType bits */
enum { EVENT_SBE = 1, EVENT_DBE = 2, EVENT_XID = 8 };

/* What a value answers to. Field ids of nvmlDeviceGetFieldValues follow after K_FIELDS. */
enum { K_UTILIZATION, K_MEMORY_ACTIVITY, K_MEMORY_TOTAL, K_MEMORY_USED, K_MEMORY_RESERVED, K_POWER, K_POWER_LIMIT,
       K_SM_CLOCK, K_MEMORY_CLOCK, K_MAX_SM_CLOCK, K_MAX_MEMORY_CLOCK, K_THROTTLE, K_TEMPERATURE, K_SLOWDOWN,
       K_SHUTDOWN, K_ENERGY, K_EVENTS, K_PROCESSES, K_ECC, K_FIELDS };
static const char *const KEY_NAMES[K_FIELDS] = {
    "utilization", "memory_activity", "memory_total", "memory_used", "memory_reserved", "power", "power_limit",
    "sm_clock", "memory_clock", "max_sm_clock", "max_memory_clock", "throttle", "temperature", "slowdown",
    "shutdown", "energy", "events", "processes", "ecc" };

enum { MAX_GPUS = 16, MAX_FIELD = 300, MAX_KEYS = K_FIELDS + MAX_FIELD, MAX_SEGMENTS = 16, MAX_FAULTS = 8,
       MAX_EVENTS = 64, MAX_PROCESSES = 16, LIVE_VALUES = 12 };

struct segment { double from, to, a, b; };
struct fault { double from, to; int code; };
struct value {
    int segments, faults, type;
    double delay;
    struct segment segment[MAX_SEGMENTS];
    struct fault fault[MAX_FAULTS];
};
struct gpu {
    unsigned index;
    char name[96], uuid[96];
    struct value *keys[MAX_KEYS];
    double lost_from, lost_to;
    unsigned processes;
    unsigned pid[MAX_PROCESSES];
    unsigned long long pid_memory[MAX_PROCESSES];
};
struct event { double at; unsigned gpu; unsigned long long type, data; int delivered; };
struct event_set { unsigned long long wanted[MAX_GPUS]; };

static struct gpu GPU[MAX_GPUS];
static unsigned gpus;
static struct event EVENT[MAX_EVENTS];
static unsigned events;
static pthread_mutex_t event_lock = PTHREAD_MUTEX_INITIALIZER;
static char driver[80] = "570.00";
static int init_code = OK, initialised, live_fd = -1;
static long long origin_ns;

static long long clock_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}
static long long wall_ns(void) { return clock_ns(CLOCK_REALTIME); }
/* Wall clock minus monotonic clock at the start: a step of the wall clock changes neither script nor waits. */
static long long wall_ahead_ns;
static double now_s(void) { return (double)(clock_ns(CLOCK_MONOTONIC) + wall_ahead_ns - origin_ns) / 1e9; }

static void sleep_s(double seconds) {
    struct timespec t = { (time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9) };
    while (nanosleep(&t, &t) != 0 && errno == EINTR) {}
}

/* ---- the script ------------------------------------------------------------------------------------------- */

static int code_of(const char *word) {
    static const struct { const char *word; int code; } CODES[] = {
        { "NOT_SUPPORTED", NOT_SUPPORTED }, { "UNKNOWN", UNKNOWN }, { "NO_PERMISSION", NO_PERMISSION },
        { "GPU_IS_LOST", GPU_IS_LOST }, { "RESET_REQUIRED", RESET_REQUIRED }, { "NO_DATA", NO_DATA },
        { "INVALID_ARGUMENT", INVALID_ARGUMENT }, { "TIMEOUT", TIMEOUT }, { "DRIVER_NOT_LOADED", DRIVER_NOT_LOADED } };
    for (size_t i = 0; i < sizeof CODES / sizeof *CODES; i++)
        if (strcmp(word, CODES[i].word) == 0) return CODES[i].code;
    return -1;
}

static struct value *value_of(struct gpu *g, const char *key) {
    int k = -1;
    if (strncmp(key, "field:", 6) == 0) {
        int id = atoi(key + 6);
        if (id > 0 && id < MAX_FIELD) k = K_FIELDS + id;
    } else {
        for (int i = 0; i < K_FIELDS; i++)
            if (strcmp(key, KEY_NAMES[i]) == 0) k = i;
    }
    if (k < 0) return NULL;
    if (g->keys[k] == NULL) {
        g->keys[k] = calloc(1, sizeof(struct value));
        if (g->keys[k] != NULL) g->keys[k]->type = AS_ULONGLONG;
    }
    return g->keys[k];
}

static int add_segment(struct value *v, double from, double to, double a, double b) {
    if (v == NULL || v->segments == MAX_SEGMENTS) return -1;
    v->segment[v->segments++] = (struct segment){ from, to, a, b };
    return 0;
}
static int add_fault(struct value *v, double from, double to, int code) {
    if (v == NULL || v->faults == MAX_FAULTS || code < 0) return -1;
    v->fault[v->faults++] = (struct fault){ from, to, code };
    return 0;
}
static int add_event(unsigned gpu, double at, unsigned long long type, unsigned long long data) {
    if (events == MAX_EVENTS) return -1;
    EVENT[events++] = (struct event){ at, gpu, type, data, 0 };
    return 0;
}

/* One line of the script; -1 if it says nothing known. */
static int script_line(char *line, struct gpu **current) {
    char word[32], key[32], code[32];
    double a, b, c, d;
    unsigned long long n;
    int rest = 0;
    struct gpu *g = *current;
    if (sscanf(line, "%31s %n", word, &rest) != 1 || word[0] == '#') return 0;
    char *args = line + rest;
    args[strcspn(args, "\r\n")] = 0;
    if (strcmp(word, "origin") == 0) return sscanf(args, "%lld", &origin_ns) == 1 ? 0 : -1;
    if (strcmp(word, "driver") == 0) { snprintf(driver, sizeof driver, "%s", args); return 0; }
    if (strcmp(word, "init") == 0) { init_code = code_of(args); return init_code < 0 ? -1 : 0; }
    if (strcmp(word, "live") == 0) { live_fd = open(args, O_RDONLY | O_CLOEXEC); return live_fd < 0 ? -1 : 0; }
    if (strcmp(word, "gpu") == 0) {
        if (gpus == MAX_GPUS) return -1;
        g = *current = &GPU[gpus];
        g->index = gpus++;
        g->lost_from = g->lost_to = -1;
        snprintf(g->name, sizeof g->name, "Fake GPU");
        snprintf(g->uuid, sizeof g->uuid, "GPU-fake-%u", g->index);
        return 0;
    }
    if (g == NULL) return -1;
    if (strcmp(word, "name") == 0) { snprintf(g->name, sizeof g->name, "%s", args); return 0; }
    if (strcmp(word, "uuid") == 0) { snprintf(g->uuid, sizeof g->uuid, "%s", args); return 0; }
    if (strcmp(word, "set") == 0 && sscanf(args, "%31s %lf", key, &a) == 2)
        return add_segment(value_of(g, key), -1e18, -1e18, a, a);
    if (strcmp(word, "at") == 0 && sscanf(args, "%lf %31s %lf", &a, key, &b) == 3)
        return add_segment(value_of(g, key), a, a, b, b);
    if (strcmp(word, "ramp") == 0 && sscanf(args, "%lf %lf %31s %lf %lf", &a, &b, key, &c, &d) == 5)
        return add_segment(value_of(g, key), a, b, c, d);
    if (strcmp(word, "error") == 0 && sscanf(args, "%lf %lf %31s %31s", &a, &b, key, code) == 4)
        return add_fault(value_of(g, key), a, b, code_of(code));
    if (strcmp(word, "error") == 0 && sscanf(args, "%31s %31s", key, code) == 2)
        return add_fault(value_of(g, key), -1e18, 1e18, code_of(code));
    if (strcmp(word, "type") == 0 && sscanf(args, "%31s %lf", key, &a) == 2) {
        struct value *v = value_of(g, key);
        if (v == NULL) return -1;
        v->type = (int)a;
        return 0;
    }
    if (strcmp(word, "delay") == 0 && sscanf(args, "%31s %lf", key, &a) == 2) {
        struct value *v = value_of(g, key);
        if (v == NULL) return -1;
        v->delay = a;
        return 0;
    }
    if (strcmp(word, "lost") == 0) {
        int read = sscanf(args, "%lf %lf", &g->lost_from, &g->lost_to);
        if (read == 1) g->lost_to = 1e18;
        return read >= 1 ? 0 : -1;
    }
    if (strcmp(word, "xid") == 0 && sscanf(args, "%lf %llu", &a, &n) == 2) return add_event(g->index, a, EVENT_XID, n);
    if (strcmp(word, "ecc") == 0 && sscanf(args, "%lf %31s", &a, key) == 2)
        return add_event(g->index, a, strcmp(key, "double") == 0 ? EVENT_DBE : EVENT_SBE, 0);
    if (strcmp(word, "process") == 0 && sscanf(args, "%lf %llu", &a, &n) == 2 && g->processes < MAX_PROCESSES) {
        g->pid[g->processes] = (unsigned)a;
        g->pid_memory[g->processes++] = n;
        return 0;
    }
    return -1;
}

static int read_script(void) {
    Dl_info self;
    char path[4096], line[512];
    struct gpu *current = NULL;
    if (dladdr((void *)&driver, &self) == 0) return UNKNOWN;
    snprintf(path, sizeof path, "%s.script", self.dli_fname);
    FILE *file = fopen(path, "re");
    if (file == NULL) return DRIVER_NOT_LOADED;
    origin_ns = wall_ns();
    wall_ahead_ns = origin_ns - clock_ns(CLOCK_MONOTONIC);
    int bad = 0;
    while (fgets(line, sizeof line, file) != NULL)
        if (script_line(line, &current) != 0) bad = 1;
    fclose(file);
    /* A script with a line that means nothing is refused whole: half a script would test half of what was meant. */
    return bad ? INVALID_ARGUMENT : init_code;
}

/* ---- values ----------------------------------------------------------------------------------------------- */

/* The live file: per GPU LIVE_VALUES doubles, in this order: utilization %, memory activity %, memory used bytes,
 * power W, SM clock MHz, temperature C, throttle bits, energy J at `energy_at`, energy_at (Unix s), ns of power
 * capping (field 74), 2 unused. */
static int live_value(const struct gpu *g, int key, double *out) {
    static const int PLACE[K_FIELDS] = { [K_UTILIZATION] = 1, [K_MEMORY_ACTIVITY] = 2, [K_MEMORY_USED] = 3,
        [K_POWER] = 4, [K_SM_CLOCK] = 5, [K_TEMPERATURE] = 6, [K_THROTTLE] = 7, [K_ENERGY] = 8 };
    int place = key < K_FIELDS ? PLACE[key] : key == K_FIELDS + 83 ? 8 : key == K_FIELDS + 186 ? 4
        : key == K_FIELDS + 74 ? 10 : 0;
    if (live_fd < 0 || place == 0) return 0;
    double record[LIVE_VALUES];
    if (pread(live_fd, record, sizeof record, (off_t)(g->index * sizeof record)) != (ssize_t)sizeof record) return 0;
    *out = record[place - 1];
    if (place == 4) *out *= 1000;
    if (place == 8) {
        double since = (double)wall_ns() / 1e9 - record[8];
        *out = (record[7] + (since > 0 ? since : 0) * record[3]) * 1000;
    }
    return 1;
}

static int is_lost(const struct gpu *g, double t) { return g->lost_from >= 0 && t >= g->lost_from && t < g->lost_to; }

/* The value of one key now, or why there is none. A key the script does not name is not supported. */
static int read_value(const struct gpu *g, int key, double *out) {
    const struct value *v = g->keys[key];
    if (v != NULL && v->delay > 0) sleep_s(v->delay);
    double t = now_s();
    if (is_lost(g, t)) return GPU_IS_LOST;
    if (v != NULL)
        for (int i = 0; i < v->faults; i++)
            if (t >= v->fault[i].from && t < v->fault[i].to) return v->fault[i].code;
    if (live_value(g, key, out)) return OK;
    if (v == NULL) return NOT_SUPPORTED;
    const struct segment *s = NULL;
    for (int i = 0; i < v->segments; i++)
        if (t >= v->segment[i].from) s = &v->segment[i];
    if (s == NULL) return NOT_SUPPORTED;
    *out = t >= s->to || s->to <= s->from ? s->b : s->a + (s->b - s->a) * (t - s->from) / (s->to - s->from);
    return OK;
}

static int device_ok(const struct gpu *g) {
    if (!initialised) return UNINITIALIZED;
    return g >= GPU && g < GPU + gpus ? OK : INVALID_ARGUMENT;
}
static int device_here(const struct gpu *g) {
    int code = device_ok(g);
    return code != OK ? code : is_lost(g, now_s()) ? GPU_IS_LOST : OK;
}
static int read_uint(const struct gpu *g, int key, unsigned *out) {
    double v = 0;
    int code = device_ok(g);
    if (code == OK) code = read_value(g, key, &v);
    if (code == OK) *out = (unsigned)(v + 0.5);
    return code;
}
static int copy_text(const char *text, char *out, unsigned length) {
    if (strlen(text) + 1 > length) return INSUFFICIENT_SIZE;
    strcpy(out, text);
    return OK;
}

/* ---- library and system ----------------------------------------------------------------------------------- */

API nvmlInit_v2(void) {
    if (initialised++ > 0) return OK;
    int code = read_script();
    if (code != OK) initialised = 0;
    return code;
}
API nvmlInitWithFlags(unsigned flags) { (void)flags; return nvmlInit_v2(); }
API nvmlShutdown(void) {
    if (initialised == 0) return UNINITIALIZED;
    initialised--;
    return OK;
}
API nvmlSystemGetDriverVersion(char *out, unsigned length) { return copy_text(driver, out, length); }
API nvmlSystemGetNVMLVersion(char *out, unsigned length) { return copy_text("12.570.00", out, length); }
API nvmlSystemGetCudaDriverVersion(int *out) { *out = 12080; return OK; }
API nvmlSystemGetCudaDriverVersion_v2(int *out) { *out = 12080; return OK; }
API nvmlDeviceGetCount_v2(unsigned *out) {
    if (!initialised) return UNINITIALIZED;
    *out = gpus;
    return OK;
}
API nvmlDeviceGetHandleByIndex_v2(unsigned index, struct gpu **out) {
    if (!initialised) return UNINITIALIZED;
    if (index >= gpus) return INVALID_ARGUMENT;
    *out = &GPU[index];
    return device_here(&GPU[index]);
}
API nvmlDeviceGetHandleByUUID(const char *uuid, struct gpu **out) {
    if (!initialised) return UNINITIALIZED;
    for (unsigned i = 0; i < gpus; i++)
        if (strcmp(GPU[i].uuid, uuid) == 0) { *out = &GPU[i]; return device_here(&GPU[i]); }
    return NOT_FOUND;
}

/* ---- one device ------------------------------------------------------------------------------------------- */

API nvmlDeviceGetIndex(struct gpu *g, unsigned *out) {
    int code = device_here(g);
    if (code == OK) *out = g->index;
    return code;
}
API nvmlDeviceGetName(struct gpu *g, char *out, unsigned length) {
    int code = device_here(g);
    return code != OK ? code : copy_text(g->name, out, length);
}
API nvmlDeviceGetUUID(struct gpu *g, char *out, unsigned length) {
    int code = device_here(g);
    return code != OK ? code : copy_text(g->uuid, out, length);
}
API nvmlDeviceGetVbiosVersion(struct gpu *g, char *out, unsigned length) {
    int code = device_here(g);
    return code != OK ? code : copy_text("00.00.00.00.01", out, length);
}
struct pci { char legacy[16]; unsigned domain, bus, device, device_id, subsystem_id; char id[32]; };
API nvmlDeviceGetPciInfo_v3(struct gpu *g, struct pci *out) {
    int code = device_here(g);
    if (code != OK) return code;
    memset(out, 0, sizeof *out);
    out->bus = g->index + 1;
    snprintf(out->id, sizeof out->id, "00000000:%02X:00.0", out->bus);
    snprintf(out->legacy, sizeof out->legacy, "0000:%02X:00.0", out->bus);
    return OK;
}
API nvmlDeviceGetCudaComputeCapability(struct gpu *g, int *major, int *minor) {
    int code = device_here(g);
    if (code == OK) { *major = 9; *minor = 0; }
    return code;
}
API nvmlDeviceGetPersistenceMode(struct gpu *g, unsigned *out) {
    int code = device_here(g);
    if (code == OK) *out = 1;
    return code;
}
API nvmlDeviceGetMigMode(struct gpu *g, unsigned *current, unsigned *pending) {
    (void)current; (void)pending;
    int code = device_here(g);
    return code != OK ? code : NOT_SUPPORTED;
}
API nvmlDeviceGetEccMode(struct gpu *g, unsigned *current, unsigned *pending) {
    int code = read_uint(g, K_ECC, current);
    if (code == OK) *pending = *current;
    return code;
}
API nvmlDeviceGetCurrPcieLinkGeneration(struct gpu *g, unsigned *out) {
    int code = device_here(g);
    if (code == OK) *out = 5;
    return code;
}
API nvmlDeviceGetCurrPcieLinkWidth(struct gpu *g, unsigned *out) {
    int code = device_here(g);
    if (code == OK) *out = 16;
    return code;
}
struct utilization { unsigned gpu, memory; };
API nvmlDeviceGetUtilizationRates(struct gpu *g, struct utilization *out) {
    int code = read_uint(g, K_UTILIZATION, &out->gpu);
    if (code == OK && read_uint(g, K_MEMORY_ACTIVITY, &out->memory) != OK) out->memory = 0;
    return code;
}
struct memory_v2 { unsigned version; unsigned long long total, reserved, free, used; };
API nvmlDeviceGetMemoryInfo_v2(struct gpu *g, struct memory_v2 *out) {
    double total = 0, used = 0, reserved = 0;
    int code = device_ok(g);
    if (code == OK && out->version != (sizeof *out | 2u << 24)) code = 25;
    if (code == OK) code = read_value(g, K_MEMORY_USED, &used);
    if (code == OK) code = read_value(g, K_MEMORY_TOTAL, &total);
    if (code != OK) return code;
    if (read_value(g, K_MEMORY_RESERVED, &reserved) != OK) reserved = 0;
    out->total = (unsigned long long)total;
    out->used = (unsigned long long)used;
    out->reserved = (unsigned long long)reserved;
    out->free = out->total > out->used + out->reserved ? out->total - out->used - out->reserved : 0;
    return OK;
}
API nvmlDeviceGetPowerUsage(struct gpu *g, unsigned *out) { return read_uint(g, K_POWER, out); }
API nvmlDeviceGetEnforcedPowerLimit(struct gpu *g, unsigned *out) { return read_uint(g, K_POWER_LIMIT, out); }
API nvmlDeviceGetTemperature(struct gpu *g, int sensor, unsigned *out) {
    return sensor != 0 ? INVALID_ARGUMENT : read_uint(g, K_TEMPERATURE, out);
}
API nvmlDeviceGetTemperatureThreshold(struct gpu *g, int which, unsigned *out) {
    return which == 0 ? read_uint(g, K_SHUTDOWN, out) : which == 1 ? read_uint(g, K_SLOWDOWN, out) : NOT_SUPPORTED;
}
API nvmlDeviceGetClockInfo(struct gpu *g, int which, unsigned *out) {
    return which == 0 || which == 1 ? read_uint(g, K_SM_CLOCK, out)
         : which == 2 ? read_uint(g, K_MEMORY_CLOCK, out) : NOT_SUPPORTED;
}
API nvmlDeviceGetMaxClockInfo(struct gpu *g, int which, unsigned *out) {
    return which == 0 || which == 1 ? read_uint(g, K_MAX_SM_CLOCK, out)
         : which == 2 ? read_uint(g, K_MAX_MEMORY_CLOCK, out) : NOT_SUPPORTED;
}
API nvmlDeviceGetCurrentClocksThrottleReasons(struct gpu *g, unsigned long long *out) {
    unsigned bits = 0;
    int code = read_uint(g, K_THROTTLE, &bits);
    if (code == OK) *out = bits;
    return code;
}
API nvmlDeviceGetTotalEnergyConsumption(struct gpu *g, unsigned long long *out) {
    double v = 0;
    int code = device_ok(g);
    if (code == OK) code = read_value(g, K_ENERGY, &v);
    if (code == OK) *out = (unsigned long long)v;
    return code;
}

struct field_value {
    unsigned id, scope;
    long long timestamp, latency;
    int type, code;
    union { double d; int i; unsigned u; unsigned long ul; unsigned long long ull; long long ll; } value;
};
API nvmlDeviceGetFieldValues(struct gpu *g, int count, struct field_value *values) {
    int code = device_here(g);
    if (code != OK || count <= 0) return code != OK ? code : INVALID_ARGUMENT;
    for (int i = 0; i < count; i++) {
        double v = 0;
        int key = values[i].id < MAX_FIELD ? K_FIELDS + (int)values[i].id : -1;
        values[i].timestamp = wall_ns() / 1000;
        values[i].code = key < 0 ? INVALID_ARGUMENT : read_value(g, key, &v);
        if (values[i].code != OK) continue;
        values[i].type = g->keys[key] != NULL ? g->keys[key]->type : AS_ULONGLONG;
        switch (values[i].type) {
        case AS_DOUBLE: values[i].value.d = v; break;
        case AS_UINT: values[i].value.u = (unsigned)v; break;
        case AS_INT: values[i].value.i = (int)v; break;
        case AS_LONGLONG: values[i].value.ll = (long long)v; break;
        default: values[i].value.ull = (unsigned long long)v;
        }
    }
    return OK;
}

struct process { unsigned pid; unsigned long long memory; unsigned instance, compute_instance; };
API nvmlDeviceGetComputeRunningProcesses_v3(struct gpu *g, unsigned *count, struct process *out) {
    unsigned room = *count, ignored = 0;
    int code = device_here(g);
    if (code == OK && g->keys[K_PROCESSES] != NULL) code = read_uint(g, K_PROCESSES, &ignored);
    if (code != OK) return code;
    *count = g->processes;
    if (g->processes > room || (out == NULL && g->processes > 0)) return INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < g->processes; i++)
        out[i] = (struct process){ g->pid[i], g->pid_memory[i], 0xFFFFFFFFu, 0xFFFFFFFFu };
    return OK;
}

/* ---- events ----------------------------------------------------------------------------------------------- */

API nvmlDeviceGetSupportedEventTypes(struct gpu *g, unsigned long long *out) {
    unsigned bits = 0;
    int code = device_here(g);
    if (code != OK) return code;
    *out = g->keys[K_EVENTS] == NULL ? EVENT_SBE | EVENT_DBE | EVENT_XID : 0;
    if (g->keys[K_EVENTS] != NULL && (code = read_uint(g, K_EVENTS, &bits)) == OK) *out = bits;
    return code;
}
API nvmlEventSetCreate(struct event_set **out) {
    if (!initialised) return UNINITIALIZED;
    *out = calloc(1, sizeof **out);
    return *out == NULL ? UNKNOWN : OK;
}
API nvmlDeviceRegisterEvents(struct gpu *g, unsigned long long types, struct event_set *set) {
    unsigned long long supported = 0;
    int code = nvmlDeviceGetSupportedEventTypes(g, &supported);
    if (code != OK) return code;
    if ((types & ~supported) != 0) return NOT_SUPPORTED;
    set->wanted[g->index] |= types;
    return OK;
}
struct event_data { struct gpu *device; unsigned long long type, data; unsigned instance, compute_instance; };
API nvmlEventSetWait_v2(struct event_set *set, struct event_data *out, unsigned timeout_ms) {
    double deadline = now_s() + timeout_ms / 1000.0;
    for (;;) {
        double next = deadline, t = now_s();
        struct event *due = NULL;
        pthread_mutex_lock(&event_lock);
        for (unsigned i = 0; i < events; i++) {
            struct event *e = &EVENT[i];
            if (e->delivered || (set->wanted[e->gpu] & e->type) == 0) continue;
            if (e->at <= t && (due == NULL || e->at < due->at)) due = e;
            if (e->at > t && e->at < next) next = e->at;
        }
        if (due != NULL) due->delivered = 1;
        pthread_mutex_unlock(&event_lock);
        if (due != NULL) {
            *out = (struct event_data){ &GPU[due->gpu], due->type, due->data, 0xFFFFFFFFu, 0xFFFFFFFFu };
            return OK;
        }
        if (t >= deadline) return TIMEOUT;
        sleep_s(next - t);
    }
}
API nvmlEventSetFree(struct event_set *set) { free(set); return OK; }
