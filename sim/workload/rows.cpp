// Kernels that keep a row on chip: rmsnorm, softmax.

#include <algorithm>

#include "workload/ops.h"
#include "workload/steps.h"

namespace memwall::workload {

namespace {

constexpr int kRows = 1, kPart = 2;  // the work item's dimensions

/// A reduction over a block: five shuffles inside a warp, one trip through shared memory, five more, and two barriers;
/// about 24 cycles a shuffle step with its add (dependent FP32 4, shuffle about 20) and 29 for shared memory each way.
constexpr double kReductionCycles = 2 * 5 * 24 + 2 * 29 + 2 * 17;

/// CTAs of a cluster that share one row: quack's rule (Dao-AILab), by bytes of a row.
int row_cluster(std::int64_t row_bytes) {
    constexpr std::int64_t kOneCta = 32 << 10;
    int cluster = 1;
    while (cluster < 16 && row_bytes > kOneCta * cluster) cluster *= 2;
    return cluster;
}

}  // namespace

RowShape rmsnorm_shape(std::int64_t rows, std::int64_t cols, trace::Dtype dtype, bool residual) {
    return {rows, cols, residual ? 2 : 1, residual ? 2 : 1, dtype, residual ? 5.0 : 4.0, 0, 1};
}

RowShape softmax_shape(std::int64_t rows, std::int64_t cols, trace::Dtype dtype) {
    return {rows, cols, 1, 1, dtype, 4, 1, 2};
}

void append_rows(trace::Trace& trace, const RowShape& s, const std::vector<int>& inputs,
                 const std::vector<int>& outputs, const std::string& op, const std::string& name) {
    trace::Kernel k;
    k.name = name;
    k.op = op;
    // Short rows share a CTA: at least 4 KiB each; long ones get up to 1,024 threads, and longer ones a cluster.
    const std::int64_t row_bytes = s.cols * trace::bits_of(s.dtype) / 8;
    const int cluster = row_cluster(row_bytes);
    const std::int64_t part = ceil_div(s.cols, cluster);
    const std::int64_t per_cta = std::clamp<std::int64_t>(4096 / std::max<std::int64_t>(1, row_bytes), 1,
                                                          std::max<std::int64_t>(1, s.rows / 256));
    const std::int64_t held = per_cta * part * trace::bits_of(s.dtype) / 8;
    const std::int64_t threads = std::clamp<std::int64_t>(held / 16, 128, 1024);
    k.work.names = {"", "rows", "part", ""};
    k.work.extent = {1, ceil_div(s.rows, per_cta), cluster, 1};
    k.work.cluster = cluster;
    k.work.cluster_dim = kPart;
    k.ctas = k.work.items();
    k.registers_per_thread = 48;
    const Origin origin = {item(kRows, per_cta), item(kPart, part)};
    std::vector<Step> steps = {simple(StepKind::trigger_dependents), simple(StepKind::wait_dependency), acquire(0)};
    for (const int tensor : inputs) {
        steps.push_back(move(StepKind::load, 0, tensor, origin, {per_cta, part}, trace::LoadPath::plain));
    }
    for (const Step& step : {commit(0), wait_full(0)}) steps.push_back(step);
    const auto elements = static_cast<double>(per_cta * part);
    steps.push_back(vector(
        {elements * s.fp32_ops_per_element, elements * s.sfu_ops_per_element, 0, s.reductions * kReductionCycles}));
    for (int i = 0; cluster > 1 && i < s.reductions; ++i) steps.push_back(simple(StepKind::sync_cluster));
    for (const int tensor : outputs) {
        steps.push_back(move(StepKind::store, -1, tensor, origin, {per_cta, part}, trace::LoadPath::plain));
    }
    steps.push_back(release(0));
    k.rings = {{"registers", 1, held * s.reads, 1, true}};
    k.roles = {{"threads", 1, static_cast<int>(ceil_div(threads, 32)), steps}};
    const auto bytes = static_cast<std::uint64_t>(s.rows * row_bytes);
    k.compulsory_read_bytes = bytes * static_cast<std::uint64_t>(s.reads);
    k.compulsory_write_bytes = bytes * static_cast<std::uint64_t>(s.writes);
    k.flops = static_cast<double>(s.rows * s.cols) * s.fp32_ops_per_element;
    k.math_dtype = trace::Dtype::fp32;
    trace.kernels.push_back(std::move(k));
}

}  // namespace memwall::workload
