// What a launch costs: gaps between kernels by runtime, and between graphs, dispatch of CTAs, clusters, a barrier of
// the whole grid.

#include "case.h"

namespace memwall::measure {

namespace {

Case base(const char* op, bool quick) {
    Case one;
    one.family = Family::launch;
    one.op = op;
    one.kind = "micro";
    one.quick = quick;
    one.gpu_ms = 250;
    return one;
}

}  // namespace

void add_launch_cases(Cases& cases) {
    for (const char* runtime : {"stream", "graph", "pdl"}) {
        for (const long long bytes : {0LL, 65536LL, 6553600LL}) {
            Case one = base("launch", bytes < 1000000);
            one.params = {{"runtime", runtime}, {"bytes", bytes}};
            cases.push_back(one);
        }
    }
    // What a graph costs as a whole: published collectors replay graphs of one, two or six operations. The copies are
    // long enough for the host to stay ahead.
    for (const int nodes : {1, 2, 6}) {
        Case one = base("graph_replay", true);
        one.params = {{"runtime", "graph"}, {"nodes", nodes}, {"bytes", 67108864LL}};
        cases.push_back(one);
    }
    for (const int threads : {32, 256, 1024}) {
        for (const int per_sm : {1, 2}) {
            if (threads * per_sm > 2048) continue;
            Case one = base("cta_dispatch", threads == 256 && per_sm == 1);
            one.params = {{"ctas_per_sm", per_sm}, {"threads", threads}};
            one.metric = "latency_cycles";
            cases.push_back(one);
        }
    }
    Case barrier = base("grid_barrier", true);
    barrier.params = {{"ctas_per_sm", 1}};
    cases.push_back(barrier);
    for (const int cluster : {1, 2, 4, 8, 16}) {
        Case one = base("cluster_launch", false);
        one.params = {{"cluster_size", cluster}};
        cases.push_back(one);
    }
}

}  // namespace memwall::measure
