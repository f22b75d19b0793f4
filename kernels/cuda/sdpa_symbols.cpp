// The functions of cuDNN and NVRTC that cudnn_frontend's headers call, each found in its library at its first call:
// linking these libraries would load them into every program (library.h).
#include <cudnn_graph.h>
#include <nvrtc.h>

#include "kernels/cuda/library.h"

namespace {

#define TRINE_TEXT_OF(x) #x
#define TRINE_TEXT(x) TRINE_TEXT_OF(x)

const trine::cuda::Library& cudnn() {
  static const trine::cuda::Library library("libcudnn.so." TRINE_TEXT(CUDNN_MAJOR));
  return library;
}
const trine::cuda::Library& nvrtc() {
  static const trine::cuda::Library library("libnvrtc.so." TRINE_TEXT(TRINE_CUDA_MAJOR));
  return library;
}

}  // namespace

#define TRINE_FORWARD(library, name, ...)                                \
  {                                                                      \
    static const auto call = library().function<decltype(&name)>(#name); \
    return call(__VA_ARGS__);                                            \
  }

extern "C" {

cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) TRINE_FORWARD(cudnn, cudnnCreate, handle) cudnnStatus_t
    cudnnDestroy(cudnnHandle_t handle) TRINE_FORWARD(cudnn, cudnnDestroy, handle) cudnnStatus_t
    cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream)
        TRINE_FORWARD(cudnn, cudnnSetStream, handle, stream) cudnnStatus_t
    cudnnGetStream(cudnnHandle_t handle, cudaStream_t* stream)
        TRINE_FORWARD(cudnn, cudnnGetStream, handle, stream) size_t
    cudnnGetVersion() TRINE_FORWARD(cudnn, cudnnGetVersion) const char* cudnnGetErrorString(cudnnStatus_t status)
        TRINE_FORWARD(cudnn, cudnnGetErrorString, status) void cudnnGetLastErrorString(char* message, size_t size)
            TRINE_FORWARD(cudnn, cudnnGetLastErrorString, message, size) cudnnStatus_t
    cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t* descriptor)
        TRINE_FORWARD(cudnn, cudnnBackendCreateDescriptor, type, descriptor) cudnnStatus_t
    cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor)
        TRINE_FORWARD(cudnn, cudnnBackendDestroyDescriptor, descriptor) cudnnStatus_t
    cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor)
        TRINE_FORWARD(cudnn, cudnnBackendFinalize, descriptor) cudnnStatus_t
    cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                             cudnnBackendAttributeType_t type, int64_t count, const void* elements)
        TRINE_FORWARD(cudnn, cudnnBackendSetAttribute, descriptor, name, type, count, elements) cudnnStatus_t
    cudnnBackendGetAttribute(cudnnBackendDescriptor_t const descriptor, cudnnBackendAttributeName_t name,
                             cudnnBackendAttributeType_t type, int64_t requested, int64_t* count, void* elements)
        TRINE_FORWARD(cudnn, cudnnBackendGetAttribute, descriptor, name, type, requested, count,
                      elements) cudnnStatus_t
    cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan, cudnnBackendDescriptor_t variant_pack)
        TRINE_FORWARD(cudnn, cudnnBackendExecute, handle, plan, variant_pack)

            nvrtcResult
    nvrtcCreateProgram(nvrtcProgram* program, const char* source, const char* name, int num_headers,
                       const char* const* headers, const char* const* include_names)
        TRINE_FORWARD(nvrtc, nvrtcCreateProgram, program, source, name, num_headers, headers,
                      include_names) nvrtcResult nvrtcDestroyProgram(nvrtcProgram* program)
            TRINE_FORWARD(nvrtc, nvrtcDestroyProgram, program) nvrtcResult
    nvrtcCompileProgram(nvrtcProgram program, int num_options, const char* const* options)
        TRINE_FORWARD(nvrtc, nvrtcCompileProgram, program, num_options, options) nvrtcResult
    nvrtcGetCUBINSize(nvrtcProgram program, size_t* size)
        TRINE_FORWARD(nvrtc, nvrtcGetCUBINSize, program, size) nvrtcResult
    nvrtcGetCUBIN(nvrtcProgram program, char* cubin) TRINE_FORWARD(nvrtc, nvrtcGetCUBIN, program, cubin) nvrtcResult
    nvrtcGetProgramLogSize(nvrtcProgram program, size_t* size)
        TRINE_FORWARD(nvrtc, nvrtcGetProgramLogSize, program, size) nvrtcResult
    nvrtcGetProgramLog(nvrtcProgram program, char* log) TRINE_FORWARD(nvrtc, nvrtcGetProgramLog, program, log)

}  // extern "C"
