// The engines of an SM, one by one.

#include <string>

#include "case.h"

namespace memwall::measure {

namespace {

Case base(const char* op, const Json& params, const char* metric, bool quick) {
    Case one;
    one.family = Family::engine;
    one.op = op;
    one.kind = "micro";
    one.params = params;
    one.metric = metric;
    one.quick = quick;
    one.gpu_ms = one.op == "wgmma_product" ? 20 : 150;
    return one;
}

}  // namespace

void add_engine_cases(Cases& cases) {
    const auto add = [&](const char* op, const Json& params, const char* metric, bool quick = false) {
        cases.push_back(base(op, params, metric, quick));
    };
    // One product by each way of feeding it: these prove the descriptors before anything leans on them.
    for (const int n : {8, 16, 32, 64, 96, 128, 176, 192, 256}) {
        for (const char* way : {"shared", "registers", "transposed"}) {
            // A row of B MN-major has 64 of n.
            if (n % 64 != 0 && std::string(way) == "transposed") continue;
            add("wgmma_product", {{"n", n}, {"dtype", "bf16"}, {"way", way}}, "relative_error", true);
        }
        for (const char* dtype : {"fp8", "tf32"}) {
            add("wgmma_product", {{"n", n}, {"dtype", dtype}, {"way", "shared"}}, "relative_error", true);
        }
    }
    for (const int n : {8, 16, 32, 64, 96, 128, 192, 256}) {
        const std::string shape = "m64n" + std::to_string(n);
        const bool quick = n == 256;
        add("wgmma", {{"shape", shape + "k16"}, {"dtype", "bf16"}, {"operand_a", "smem"}}, "tflops", quick);
        add("wgmma", {{"shape", shape + "k16"}, {"dtype", "bf16"}, {"operand_a", "reg"}}, "tflops");
        add("wgmma", {{"shape", shape + "k32"}, {"dtype", "fp8"}, {"operand_a", "smem"}}, "tflops", quick);
        add("wgmma", {{"shape", shape + "k8"}, {"dtype", "tf32"}, {"operand_a", "smem"}}, "tflops");
    }
    for (const int n : {64, 128, 256}) {
        const std::string shape = "m64n" + std::to_string(n) + "k16";
        add("wgmma", {{"shape", shape}, {"dtype", "bf16"}, {"operand_a", "smem"}, {"warpgroups", 2}}, "tflops");
    }
    for (const int box : {16, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768}) {
        add("tma_issue", {{"box_bytes", box}, {"rank", 1}}, "latency_cycles", box == 128);
        if (box >= 128) add("tma_issue", {{"box_bytes", box}, {"rank", 2}}, "latency_cycles", box == 128);
    }
    for (const int box : {128, 512, 1024, 2048, 4096, 8192, 16384, 32768}) {
        for (const char* from : {"l2", "hbm"}) {
            add("tma_single", {{"box_bytes", box}, {"from", from}}, "latency_cycles", box == 2048);
        }
    }
    for (const int box : {128, 512, 2048, 8192, 32768}) {
        for (const int in_flight : {1, 8}) {
            add("tma_store", {{"box_bytes", box}, {"in_flight", in_flight}}, "latency_cycles", box == 2048);
        }
    }
    for (const char* op : {"smem_read", "smem_write"}) {
        for (const int conflict : {1, 2, 4, 8}) add(op, {{"conflict", conflict}}, "bytes_per_cycle", conflict == 1);
    }
    for (const char* part : {"arrive", "try_wait", "handover"}) {
        add("mbarrier", {{"part", part}}, "latency_cycles", true);
    }
    for (const char* op : {"dsmem_read", "dsmem_write"}) {
        for (const int cluster : {2, 4, 8, 16}) add(op, {{"cluster_size", cluster}}, "bytes_per_cycle", cluster == 2);
    }
    add("sfu", {{"function", "ex2"}}, "operations_per_cycle", true);
    for (const int cluster : {2, 4, 8}) {
        for (const int box : {4096, 16384}) {
            add("multicast", {{"cluster_size", cluster}, {"box_bytes", box}}, "bytes_per_cycle");
        }
    }
}

}  // namespace memwall::measure
