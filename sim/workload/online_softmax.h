// What the online softmax of FlashAttention costs the threads of a warpgroup.
#pragma once

namespace memwall::workload {

// Online softmax in the order in which its threads run it, each pass over all scores of a tile before the next. Costs
// in lanes of the fp32 rate, 128 a cycle: a comparison and a conversion run at half of it (CUDA C++ Programming Guide,
// throughput of native arithmetic instructions, compute capability 9.0), a conversion packs two scores.
inline constexpr double kMaximumOps = 2;      // of the row: one comparison a score
inline constexpr double kExponentialOps = 2;  // scale less maximum, running sum; beside the exponential in the SFU
inline constexpr double kConvertOps = 1;      // half of a conversion at half rate
inline constexpr double kReduceLatency =
    60;                                      // of a row's maximum over four threads: two shuffles and what follows them
inline constexpr double kFenceLatency = 60;  // until what threads stored is visible to the tensor cores: 48 to 66 after
                                             // 8 to 16 matrix stores of a warp, H100 (FlashGPU-Sim's probes)

}  // namespace memwall::workload
