// A Llama layer the slow way: one plain kernel for each operation, fp32 throughout, no code shared with the fast one.
#pragma once

#include <cuda_runtime.h>

#include "bench.h"
#include "layer.h"

namespace memwall::measure {

/// hidden and residual after the layer, fp32, [rows][hidden] each, from the memory as it is before the layer runs.
struct LayerOutput {
    kernels::DeviceBuffer hidden, residual;
};
LayerOutput reference_layer(const kernels::LayerShape& shape, const kernels::LayerMemory& memory, cudaStream_t stream);

}  // namespace memwall::measure
