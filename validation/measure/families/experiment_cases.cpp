// Experiments that read the chip's map: what no maker publishes and no literature has settled.

#include <string>

#include "case.h"

namespace memwall::measure {

void add_experiment_cases(Cases& cases) {
    const auto add = [&](const char* op, const Json& params, const char* metric, double gpu_ms, bool quick) {
        Case one;
        one.family = Family::experiment;
        one.op = op;
        one.kind = "micro";
        one.params = params;
        one.metric = metric;
        one.gpu_ms = gpu_ms;
        one.quick = quick;
        cases.push_back(one);
    };
    add("gpc_map", Json::object(), "count", 800, true);
    add("sm_halves", Json::object(), "latency_cycles", 1500, true);
    add("home_hash", Json::object(), "fraction", 500, true);
    for (const char* home : {"near", "far"}) add("half_link", {{"home", home}}, "gbps", 500, false);
    // L2-resident reads by more and more SMs: of one GPC, and of all GPCs alike.
    for (const int sms : {1, 2, 4, 6, 9, 12, 16, 18}) {
        add("l2_gpc_port", {{"sms", sms}, {"within", "gpc"}}, "bytes_per_cycle", 200, sms == 18);
    }
    for (const int sms : {1, 2, 4, 8, 12, 14, 16}) {
        add("l2_gpc_port", {{"sms", sms}, {"within", "each_gpc"}}, "bytes_per_cycle", 200, false);
    }
    // How far the clock falls under a load that the board's power limit meets, and after how long; beside zeros, which
    // stay far from it.
    for (const char* dtype : {"bf16", "fp8"}) {
        for (const char* data : {"random", "zeros"})
            add("clock_under_load", {{"dtype", dtype}, {"data", data}}, "mhz", 1500, dtype == std::string("bf16"));
    }
    for (const int words : {1, 8, 32}) add("l2_clock", {{"words", words}}, "operations_per_ns", 150, false);
}

}  // namespace memwall::measure
