// What host code needs beside a kernel: errors of the CUDA runtime as exceptions, memory that frees itself, tensor
// maps, launches with a cluster or as a dependent of the kernel before, and the fills that every check starts from.
#pragma once

#include <cuda.h>
#include <cuda_runtime.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <utility>

namespace memwall::kernels {

/// A call of the CUDA runtime or driver failed; the text names the call and the reason.
struct CudaError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// Throws CudaError unless `status` is success. `what` names the call.
void check(cudaError_t status, const char* what);

/// Element types of operands. fp8 is e4m3.
enum class Dtype { bf16, fp8, fp32 };
[[nodiscard]] std::size_t bytes_of(Dtype dtype);
[[nodiscard]] const char* name_of(Dtype dtype);

/// Device memory, freed at the end of its life. Contents are undefined at first.
class DeviceBuffer {
public:
    DeviceBuffer() = default;
    /// Throws CudaError when there is not enough memory.
    explicit DeviceBuffer(std::size_t bytes);
    DeviceBuffer(DeviceBuffer&& other) noexcept { swap(other); }
    DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
        swap(other);
        return *this;
    }
    DeviceBuffer(const DeviceBuffer&) = delete;
    DeviceBuffer& operator=(const DeviceBuffer&) = delete;
    ~DeviceBuffer();

    template <class T = void>
    [[nodiscard]] T* as() const {
        return static_cast<T*>(data_);
    }
    [[nodiscard]] std::size_t bytes() const { return bytes_; }

private:
    void swap(DeviceBuffer& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(bytes_, other.bytes_);
    }
    void* data_ = nullptr;
    std::size_t bytes_ = 0;
};

/// Uniform in [-1, 1) as `dtype`, from a counter-based generator: the same seed gives the same values.
void fill_random(void* data, std::size_t elements, Dtype dtype, std::uint64_t seed, cudaStream_t stream);
/// Fills with bytes 0xff: a NaN in every float type here, so that what a kernel leaves unwritten shows.
void poison(void* data, std::size_t bytes, cudaStream_t stream);

/// A tensor map over `address`: extents and box from the contiguous dimension outwards, strides in bytes of the
/// dimensions beyond the first. The box lands in shared memory with a 128-byte swizzle when its rows have 128 bytes and
/// `swizzle` is set, else row after row. Throws CudaError when the driver refuses it.
struct TensorMapShape {
    Dtype dtype;
    int rank;
    std::array<std::uint64_t, 5> extent{};
    std::array<std::uint64_t, 4> stride_bytes{};  ///< of dimension 1, 2, ...
    std::array<std::uint32_t, 5> box{};
    bool swizzle = true;
};
[[nodiscard]] CUtensorMap tensor_map(const void* address, const TensorMapShape& shape);
/// Of a row-major matrix of `rows` x `cols`, boxes of box_rows x box_cols.
[[nodiscard]] CUtensorMap matrix_map(const void* address, Dtype dtype, std::uint64_t rows, std::uint64_t cols,
                                     std::uint32_t box_rows, std::uint32_t box_cols, bool swizzle = true);

/// How a kernel is launched.
struct Launch {
    dim3 grid, block;
    std::size_t smem_bytes = 0;
    cudaStream_t stream = nullptr;
    unsigned cluster = 1;    ///< CTAs per cluster, along x
    bool dependent = false;  ///< programmatic dependent launch: may start while the kernel before it ends
};

/// cudaLaunchKernelEx with that configuration; raises the kernel's shared-memory limit first. Throws CudaError.
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), const Launch& how, Arguments&&... arguments) {
    if (how.smem_bytes > 48 * 1024) {
        check(
            cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(how.smem_bytes)),
            "cudaFuncSetAttribute(MaxDynamicSharedMemorySize)");
    }
    if (how.cluster > 8) {
        check(cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1),
              "cudaFuncSetAttribute(NonPortableClusterSizeAllowed)");
    }
    std::array<cudaLaunchAttribute, 2> attributes{};
    unsigned count = 0;
    if (how.cluster > 1) {
        attributes[count].id = cudaLaunchAttributeClusterDimension;
        attributes[count++].val.clusterDim = {how.cluster, 1, 1};
    }
    if (how.dependent) {
        attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
        attributes[count++].val.programmaticStreamSerializationAllowed = 1;
    }
    cudaLaunchConfig_t config{};
    config.gridDim = how.grid;
    config.blockDim = how.block;
    config.dynamicSmemBytes = how.smem_bytes;
    config.stream = how.stream;
    config.attrs = attributes.data();
    config.numAttrs = count;
    check(cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...), "cudaLaunchKernelEx");
}

/// Multiprocessors of the current device.
[[nodiscard]] int multiprocessors();

}  // namespace memwall::kernels
