// Products: the tile GEMM, the few-rows kernels, and the library beside them.

#include <functional>
#include <memory>

#include "bench.h"
#include "gemm.h"
#include "gemm_reference.h"

namespace memwall::measure {

using kernels::Dtype;
using kernels::GemmProblem;

namespace {

/// bf16 results are rounded to 8 bits (2^-9 relative at most, 2^-9/sqrt(3) in the mean); the rest is fp32 noise. fp8
/// products are exact, and their sums are kept with fewer bits than fp32 inside the tensor core.
double tolerance_of(Dtype dtype) {
    return dtype == Dtype::bf16 ? 5e-3 : 2e-2;
}

using Launches = std::function<void(int)>;

/// Runs copy 0 once and checks it, then times all copies in turn.
Outcome run(const ProductOperands& operands, Bench& bench, const Case& c, const Launches& launch) {
    launch(0);
    bench.synchronize();
    const GemmProblem& first = operands.problem(0);
    Outcome outcome;
    outcome.check = check_product(first, tolerance_of(first.dtype), bench.seed(), bench.stream());
    const Timing timing = bench.graph(operands.copies(), c.gpu_ms * 0.6, launch);
    outcome.samples = timing.us;
    outcome.sm_clock_mhz = timing.sm_clock_mhz;
    outcome.method = timing.method;
    return outcome;
}

ProductOperands operands_of(const Case& c, Bench& bench) {
    const std::int64_t m = c.number("m"), n = c.number("n"), k = c.number("k");
    const Dtype dtype = c.text("dtype") == "fp8" ? Dtype::fp8 : Dtype::bf16;
    const int copies = bench.copies(ProductOperands::bytes(m, n, k, dtype), c.cache);
    return {m, n, k, dtype, copies, bench};
}

Outcome run_library(const Case& c, Bench& bench, const ProductOperands& operands) {
    LibraryProduct library(operands.problem(0).dtype);
    return run(operands, bench, c, [&](int i) { library.launch(operands.problem(i), bench.stream()); });
}

/// A plan for each copy.
template <class Plan, class Schedule>
Outcome run_plans(const Case& c, Bench& bench, const ProductOperands& operands, const Schedule& schedule) {
    std::vector<Plan> plans;
    for (int i = 0; i < operands.copies(); ++i) plans.emplace_back(operands.problem(i), schedule);
    const auto launch = [&](int i) { plans[static_cast<std::size_t>(i) % plans.size()].launch(bench.stream()); };
    Outcome outcome = run(operands, bench, c, launch);
    outcome.details = {{"ctas", plans.front().ctas()}};
    return outcome;
}

}  // namespace

Outcome measure_gemm(const Case& c, Bench& bench) {
    const ProductOperands operands = operands_of(c, bench);
    if (c.schedule.is_null()) return run_library(c, bench, operands);
    const Json& tile = c.schedule.at("tile");
    const kernels::GemmSchedule schedule{.tile_m = tile[0],
                                         .tile_n = tile[1],
                                         .tile_k = tile[2],
                                         .stages = static_cast<int>(c.scheduled("stages")),
                                         .cluster = static_cast<int>(c.scheduled("cluster")),
                                         .split = static_cast<int>(c.scheduled("split")),
                                         .panel = static_cast<int>(c.scheduled("panel")),
                                         .persistent = c.schedule.at("persistent").get<bool>()};
    return run_plans<kernels::GemmPlan>(c, bench, operands, schedule);
}

Outcome measure_skinny(const Case& c, Bench& bench) {
    const ProductOperands operands = operands_of(c, bench);
    if (c.schedule.is_null()) return run_library(c, bench, operands);
    const Json& tile = c.schedule.at("tile");
    kernels::SkinnySchedule schedule;
    const bool tma = c.schedule.at("path").get<std::string>() == "tma";
    schedule.path = tma ? kernels::SkinnySchedule::Path::tma : kernels::SkinnySchedule::Path::plain;
    schedule.tile_n = tile[1];
    schedule.split = static_cast<int>(c.scheduled("split"));
    if (tma) {
        schedule.tile_k = tile[2];
        schedule.stages = static_cast<int>(c.scheduled("stages"));
    }
    return run_plans<kernels::SkinnyPlan>(c, bench, operands, schedule);
}

}  // namespace memwall::measure
