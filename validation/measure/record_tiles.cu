#include <algorithm>
#include <functional>

#include "attention.h"
#include "gemm.h"
#include "record_tiles.h"
#include "recording.h"

namespace memwall::measure {

using kernels::DeviceBuffer;
using kernels::Dtype;
using kernels::TileLog;

namespace {

constexpr double kBudgetMs = 40;

/// Memory for a log, and its way back to the host.
class LogMemory {
public:
    LogMemory(int ctas, std::uint32_t capacity)
        : events_(sizeof(kernels::TileEvent) * static_cast<std::size_t>(ctas) * capacity),
          counts_(sizeof(std::uint32_t) * static_cast<std::size_t>(ctas)),
          clocks_(sizeof(kernels::ClockPair) * static_cast<std::size_t>(ctas)),
          capacity_(capacity) {
        for (const DeviceBuffer* buffer : {&events_, &counts_, &clocks_}) {
            kernels::check(cudaMemset(buffer->as(), 0, buffer->bytes()), "cudaMemset");
        }
    }
    [[nodiscard]] TileLog log() const {
        return {events_.as<kernels::TileEvent>(), counts_.as<std::uint32_t>(), clocks_.as<kernels::ClockPair>(),
                capacity_};
    }
    void read(RecordedKernel& kernel) const {
        kernel.capacity = capacity_;
        copy(kernel.events, events_);
        copy(kernel.counts, counts_);
        copy(kernel.clocks, clocks_);
    }

private:
    template <class T>
    static void copy(std::vector<T>& to, const DeviceBuffer& from) {
        to.resize(from.bytes() / sizeof(T));
        kernels::check(cudaMemcpy(to.data(), from.as(), from.bytes(), cudaMemcpyDeviceToHost), "cudaMemcpy");
    }
    DeviceBuffer events_, counts_, clocks_;
    std::uint32_t capacity_;
};

double median_us(Bench& bench, const std::function<void(int)>& launch) {
    std::vector<double> us = bench.graph(1, kBudgetMs, launch).us;
    std::ranges::sort(us);
    return us[us.size() / 2];
}

/// Times a plan without the recorder, then the one with it, and keeps the tiles of one run of the latter.
template <class Problem, class Plan, class Schedule>
Json record(const std::string& name, const Case& what, const Problem& problem, const Schedule& schedule, int capacity,
            Bench& bench) {
    RecordedKernel kernel;
    kernel.name = name;
    kernel.what = what;
    const Plan plain(problem, schedule);
    kernel.time_us = median_us(bench, [&](int) { plain.launch(bench.stream()); });
    const LogMemory memory(plain.ctas(), static_cast<std::uint32_t>(capacity));
    const TileLog log = memory.log();
    const Plan recording(problem, schedule, &log);
    kernel.recorded_time_us = median_us(bench, [&](int) { recording.launch(bench.stream()); });
    bench.synchronize();
    memory.read(kernel);
    return tiles_of(kernel);
}

DeviceBuffer random_bf16(std::size_t elements, Bench& bench) {
    DeviceBuffer buffer(elements * 2);
    kernels::fill_random(buffer.as(), elements, Dtype::bf16, bench.seed(), bench.stream());
    return buffer;
}

Json record_gemm(int tile_n, int cluster, Bench& bench) {
    constexpr int kM = 2048, kN = 4096, kK = 4096;
    const DeviceBuffer a = random_bf16(kM * kK, bench), b = random_bf16(kN * kK, bench), c(kM * kN * 2);
    const kernels::GemmProblem problem{kM, kN, kK, Dtype::bf16, a.as(), b.as(), c.as()};
    const kernels::GemmSchedule schedule{
        .tile_m = 128, .tile_n = tile_n, .tile_k = 64, .stages = 4, .cluster = cluster};
    Case what;
    what.op = "gemm";
    what.params = {{"m", kM}, {"n", kN}, {"k", kK}, {"dtype", "bf16"}};
    what.schedule = {{"tile", {128, tile_n, 64}}, {"stages", 4},       {"cluster", cluster}, {"split", 1},
                     {"panel", schedule.panel},   {"persistent", true}};
    const int items = kM / 128 * (kN / tile_n);
    const int capacity = (items / kernels::multiprocessors() + 2) * (kK / 64);
    return record<kernels::GemmProblem, kernels::GemmPlan>("gemm-128x" + std::to_string(tile_n), what, problem,
                                                           schedule, capacity, bench);
}

Json record_prefill(Bench& bench) {
    constexpr int kTokens = 2048, kHeads = 32, kDim = 128;
    constexpr std::size_t kElements = static_cast<std::size_t>(kTokens) * kHeads * kDim;
    const DeviceBuffer q = random_bf16(kElements, bench), k = random_bf16(kElements, bench),
                       v = random_bf16(kElements, bench), o(kElements * 2);
    kernels::PrefillProblem p{};
    p.batch = 1;
    p.heads = p.kv_heads = kHeads;
    p.q_tokens = p.kv_tokens = kTokens;
    p.head_dim = kDim;
    p.causal = true;
    p.q = q.as();
    p.k = k.as();
    p.v = v.as();
    p.q_stride = p.kv_stride = kHeads * kDim;
    p.o = o.as();
    const kernels::PrefillSchedule schedule{.tile_q = 128, .tile_kv = 128, .stages = 2};
    Case what;
    what.op = "attention_prefill";
    what.params = {{"batch", 1},    {"heads", kHeads},  {"kv_heads", kHeads}, {"q", kTokens},
                   {"kv", kTokens}, {"head_dim", kDim}, {"causal", true},     {"dtype", "bf16"}};
    what.schedule = {{"tile", {128, 128, kDim}}, {"stages", 2}};
    const int tiles = kTokens / 128;
    const int items_of_cta = tiles * kHeads / kernels::multiprocessors() + 2;
    return record<kernels::PrefillProblem, kernels::PrefillPlan>("attention-prefill", what, p, schedule,
                                                                 items_of_cta * tiles, bench);
}

Json record_decode(Bench& bench) {
    constexpr int kKeys = 8192, kHeads = 32, kDim = 128, kSplit = 8;
    constexpr std::size_t kElements = static_cast<std::size_t>(kKeys) * kHeads * kDim;
    const DeviceBuffer q = random_bf16(kHeads * kDim, bench), k = random_bf16(kElements, bench),
                       v = random_bf16(kElements, bench), o(kHeads * kDim * 2);
    kernels::DecodeProblem p{};
    p.batch = 1;
    p.heads = p.kv_heads = kHeads;
    p.kv = kKeys;
    p.head_dim = kDim;
    p.q = q.as();
    p.k = k.as();
    p.v = v.as();
    p.o = o.as();
    const kernels::DecodeSchedule schedule{.tile = 64, .stages = 3, .split = kSplit, .tma = true};
    Case what;
    what.op = "attention_decode";
    what.params = {{"batch", 1},  {"heads", kHeads},  {"kv_heads", kHeads},
                   {"kv", kKeys}, {"head_dim", kDim}, {"dtype", "bf16"}};
    what.schedule = {{"tile", {8, 64, kDim}}, {"stages", 3}, {"split", kSplit}, {"path", "tma"}};
    return record<kernels::DecodeProblem, kernels::DecodePlan>("attention-decode", what, p, schedule,
                                                               kKeys / 64 / kSplit + 1, bench);
}

}  // namespace

void record_tiles(const std::string& path, const Setting& setting, Bench& bench) {
#ifndef MEMWALL_RECORD_TILES
    throw std::runtime_error("built without the tile recorder (CMake option MEMWALL_RECORD_TILES)");
#endif
    Json recording;
    recording["schema"] = "memwall-trace/1";
    recording["recording"] = {
        {"device", setting.device},
        {"measured", setting.facts},
        {"date", setting.date},
        {"unit", "ns"},
        {"columns", {"sm", "cta", "item", "step", "load_issued", "load_landed", "compute_begun", "compute_done"}}};
    recording["kernels"] = {record_gemm(256, 2, bench), record_gemm(128, 1, bench), record_prefill(bench),
                            record_decode(bench)};
    write_whole(path, recording.dump() + "\n");
}

}  // namespace memwall::measure
