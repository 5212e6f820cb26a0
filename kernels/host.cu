#include <cuda_bf16.h>
#include <cuda_fp8.h>

#include "host.h"

namespace memwall::kernels {

void check(cudaError_t status, const char* what) {
    if (status == cudaSuccess) return;
    throw CudaError(std::string(what) + ": " + cudaGetErrorString(status));
}

std::size_t bytes_of(Dtype dtype) {
    switch (dtype) {
        case Dtype::bf16:
            return 2;
        case Dtype::fp8:
            return 1;
        case Dtype::fp32:
            return 4;
    }
    return 0;
}

const char* name_of(Dtype dtype) {
    switch (dtype) {
        case Dtype::bf16:
            return "bf16";
        case Dtype::fp8:
            return "fp8";
        case Dtype::fp32:
            return "fp32";
    }
    return "";
}

DeviceBuffer::DeviceBuffer(std::size_t bytes) : bytes_(bytes) {
    check(cudaMalloc(&data_, bytes), ("cudaMalloc of " + std::to_string(bytes) + " bytes").c_str());
}

DeviceBuffer::~DeviceBuffer() {
    cudaFree(data_);
}

int multiprocessors() {
    int device = 0, count = 0;
    check(cudaGetDevice(&device), "cudaGetDevice");
    check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device), "cudaDeviceGetAttribute");
    return count;
}

namespace {

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): a good 64-bit value for each counter.
__device__ std::uint64_t mixed(std::uint64_t x) {
    x += 0x9e3779b97f4a7c15ULL;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

template <class T>
__global__ void random_kernel(T* data, std::size_t elements, std::uint64_t seed) {
    const std::size_t stride = static_cast<std::size_t>(gridDim.x) * blockDim.x;
    for (std::size_t i = static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < elements; i += stride) {
        const auto bits = static_cast<std::uint32_t>(mixed(seed * 0x100000001b3ULL + i) >> 40);  // 24 bits
        data[i] = T(static_cast<float>(bits) * (2.0f / 16777216.0f) - 1.0f);
    }
}

template <class T>
void random_as(void* data, std::size_t elements, std::uint64_t seed, cudaStream_t stream) {
    random_kernel<<<1024, 256, 0, stream>>>(static_cast<T*>(data), elements, seed);
    check(cudaGetLastError(), "random_kernel");
}

/// The driver's tensor-map encoder, found through the runtime: no link against libcuda.
auto encoder() {
    using Encode = decltype(&cuTensorMapEncodeTiled);
    static const Encode encode = [] {
        void* entry = nullptr;
        cudaDriverEntryPointQueryResult found{};
        check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000, cudaEnableDefault, &found),
              "cudaGetDriverEntryPointByVersion(cuTensorMapEncodeTiled)");
        if (found != cudaDriverEntryPointSuccess || entry == nullptr) {
            throw CudaError("the driver has no cuTensorMapEncodeTiled: it is older than CUDA 12");
        }
        return reinterpret_cast<Encode>(entry);
    }();
    return encode;
}

CUtensorMapDataType map_type(Dtype dtype) {
    switch (dtype) {
        case Dtype::bf16:
            return CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
        case Dtype::fp8:
            return CU_TENSOR_MAP_DATA_TYPE_UINT8;
        case Dtype::fp32:
            return CU_TENSOR_MAP_DATA_TYPE_FLOAT32;
    }
    return CU_TENSOR_MAP_DATA_TYPE_UINT8;
}

}  // namespace

void fill_random(void* data, std::size_t elements, Dtype dtype, std::uint64_t seed, cudaStream_t stream) {
    switch (dtype) {
        case Dtype::bf16:
            return random_as<__nv_bfloat16>(data, elements, seed, stream);
        case Dtype::fp8:
            return random_as<__nv_fp8_e4m3>(data, elements, seed, stream);
        case Dtype::fp32:
            return random_as<float>(data, elements, seed, stream);
    }
}

void poison(void* data, std::size_t bytes, cudaStream_t stream) {
    check(cudaMemsetAsync(data, 0xff, bytes, stream), "cudaMemsetAsync");
}

CUtensorMap tensor_map(const void* address, const TensorMapShape& shape) {
    CUtensorMap map{};
    const std::array<std::uint32_t, 5> element_stride{1, 1, 1, 1, 1};
    const bool swizzled = shape.swizzle && shape.box[0] * bytes_of(shape.dtype) == 128;
    const CUresult status =
        encoder()(&map, map_type(shape.dtype), static_cast<std::uint32_t>(shape.rank), const_cast<void*>(address),
                  shape.extent.data(), shape.stride_bytes.data(), shape.box.data(), element_stride.data(),
                  CU_TENSOR_MAP_INTERLEAVE_NONE, swizzled ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_NONE,
                  CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    if (status != CUDA_SUCCESS) {
        std::string what = "cuTensorMapEncodeTiled refused a box of";
        for (int i = 0; i < shape.rank; ++i) {
            what += i > 0 ? "x" : " ";
            what += std::to_string(shape.box[static_cast<std::size_t>(i)]);
        }
        throw CudaError(what + " " + name_of(shape.dtype) + ": error " + std::to_string(static_cast<int>(status)));
    }
    return map;
}

CUtensorMap matrix_map(const void* address, Dtype dtype, std::uint64_t rows, std::uint64_t cols, std::uint32_t box_rows,
                       std::uint32_t box_cols, bool swizzle) {
    TensorMapShape shape{dtype, 2, {cols, rows}, {cols * bytes_of(dtype)}, {box_cols, box_rows}, swizzle};
    return tensor_map(address, shape);
}

}  // namespace memwall::kernels
