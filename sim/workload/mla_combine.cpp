// csrc/kernels/mla_combine.cu: eight queries of a sequence to a CTA, a warp for each; CTAs of sequences that were not
// divided look at their number of parts and leave.
#include <algorithm>

#include "workload/mla_decode.h"
#include "workload/online_softmax.h"
#include "workload/steps.h"

namespace memwall::workload {

namespace {

using trace::LoadPath;

constexpr int kBatch = 0;  // of a work item
// What a piece says: the first part of its sequence, and how many there are.
constexpr int kFirst = trace::kWorkDims - 1, kNumber = trace::kVarSteps;

}  // namespace

void append_mla_combine(trace::Trace& trace, const MlaShape& s, const std::vector<std::vector<MlaRun>>& schedule,
                        const MlaResults& t, const std::string& name) {
    constexpr std::int64_t kRows = 8, kSectorBytes = 32;
    constexpr int kParts = 0, kLse = 1, kCount = 2;  // rings
    struct Parts {
        std::int64_t first = 0, number = 0;
    };
    std::vector<Parts> parts(static_cast<std::size_t>(s.batch));
    std::int64_t most = 1, all = 0;
    for (const auto& runs : schedule) {
        for (const MlaRun& run : runs) {
            if (run.slot == 0) continue;
            Parts& mine = parts[static_cast<std::size_t>(run.batch)];
            if (mine.number++ == 0) mine.first = run.slot - 1;
            most = std::max(most, mine.number);
            ++all;
        }
    }
    trace::Kernel k;
    k.name = name + ".combine";
    k.op = "mla_decode";
    k.work.names = {"batch", "rows", "", ""};
    k.work.extent = {s.batch, ceil_div(s.rows(), kRows), 1, 1};
    k.work.persistent = true;
    k.ctas = k.work.items();
    for (std::int64_t tile = 0; tile < k.ctas; ++tile) {
        const Parts& mine = parts[static_cast<std::size_t>(tile / k.work.extent[1])];
        k.work.dealt.push_back({{tile, mine.first, mine.number, 0}});
    }
    k.registers_per_thread = 64;
    k.math_dtype = trace::Dtype::fp32;
    k.smem_bytes = most * kRows * 4;
    const std::int64_t part_bytes = kRows * s.rank * 4;
    k.rings = {
        {"parts", 2, part_bytes, 1, true}, {"lse", 1, most * kRows * 4, 1, false}, {"count", 1, kSectorBytes, 1, true}};
    const Affine row = item(1, kRows), first = item(kFirst);
    const auto values = static_cast<double>(kRows * s.rank), weights = static_cast<double>(most * kRows);
    std::vector<Step> steps = {simple(StepKind::trigger_dependents)};
    look_up(steps, move(StepKind::load, kCount, t.table, {0, 0}, {1, 1}, LoadPath::plain));
    append(steps, {simple(StepKind::wait_dependency), loop(1, Affine::var(kNumber)), acquire(kLse),
                   move(StepKind::load, kLse, t.lse, {first, row}, {most, kRows}, LoadPath::plain), commit(kLse),
                   wait_full(kLse), vector({weights * 8, weights, weights * 8, kReductionCycles}), release(kLse)});
    const auto part = [&](const Affine& number) {
        append(steps,
               {acquire(kParts),
                move(StepKind::load, kParts, t.partial, {first + number, row, 0}, {1, kRows, s.rank}, LoadPath::plain),
                commit(kParts)});
    };
    const auto add = [&] { append(steps, {wait_full(kParts), vector({values * 2, 0, 0, 8}), release(kParts)}); };
    part(0);
    steps.push_back(loop(Affine::var(kNumber) + -1));
    part(turn(1) + 1);
    add();
    steps.push_back(end_loop());
    add();
    append(steps,
           {move(StepKind::store, -1, t.o, {item(kBatch), row, 0}, {1, kRows, s.rank}, LoadPath::plain), end_loop()});
    k.roles = {{"threads", 1, static_cast<int>(kRows), std::move(steps)}};
    k.flops = 2.0 * static_cast<double>(all * s.rows() * s.rank);
    trace.kernels.push_back(std::move(k));
}

}  // namespace memwall::workload
