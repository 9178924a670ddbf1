/* CUDA with no GPU under it, for ONNX Runtime's CUDA provider to start on.
 *
 * Memory is the host's, copies are copies, kernels and products do nothing. So numbers mean nothing; what
 * means something is what the provider does around them: which nodes it takes, what it carries between GPU
 * and processor, when it allocates, and when it captures and replays a graph. What CUDA forbids while a
 * stream is captured fails here too.
 *
 * Loaded before libcudart, whose own functions register kernels without a GPU; make_environment.sh gives it
 * the names of the other libraries.
 */
#include <cuda_runtime_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DONE return cudaSuccess
#define HEADER 256 /* alignment, and room for a block's size in front of it */

static long launches, captures, replays, uploads, downloads, allocations, live;
static int capturing;

/* What the tests read, in this order. */
void no_gpu_counts(long *into) {
    long counts[] = {launches, captures, replays, uploads, downloads, allocations, live};
    memcpy(into, counts, sizeof counts);
}

static cudaError_t take(void **pointer, size_t size) {
    if (capturing) return cudaErrorStreamCaptureUnsupported;
    char *block = aligned_alloc(HEADER, HEADER + (size + HEADER - 1) / HEADER * HEADER);
    if (!block) return cudaErrorMemoryAllocation;
    *(size_t *)block = size;
    live += size;
    allocations++;
    *pointer = memset(block + HEADER, 0, size);
    DONE;
}

static cudaError_t drop(void *pointer) {
    if (!pointer) DONE;
    if (capturing) return cudaErrorStreamCaptureUnsupported;
    char *block = (char *)pointer - HEADER;
    live -= *(size_t *)block;
    free(block);
    DONE;
}

static int handle(void **pointer) {
    *pointer = calloc(1, 256);
    return 0;
}

/* The driver */

int cuInit(unsigned flags) { return 0; }
int cuDeviceGetCount(int *count) { return *count = 1, 0; }
int cuDeviceGet(int *device, int ordinal) { return *device = 0, 0; }
int cuDeviceGetName(char *name, int length, int device) {
    return snprintf(name, length, "no GPU"), 0;
}
int cuTensorMapEncodeTiled() { return 0; }

/* The device: as large as an H100, so that nothing is refused for its size */

cudaError_t cudaGetDevice(int *device) { *device = 0; DONE; }
cudaError_t cudaSetDevice(int device) { DONE; }
cudaError_t cudaGetDeviceCount(int *count) { *count = 1; DONE; }
cudaError_t cudaDriverGetVersion(int *version) { *version = 13000; DONE; }
cudaError_t cudaRuntimeGetVersion(int *version) { *version = 13000; DONE; }
cudaError_t cudaMemGetInfo(size_t *free, size_t *total) { *free = *total = (size_t)80 << 30; DONE; }
cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device) {
    switch (attribute) {
    case cudaDevAttrComputeCapabilityMajor: *value = 9; DONE;
    case cudaDevAttrComputeCapabilityMinor: *value = 0; DONE;
    case cudaDevAttrMultiProcessorCount: *value = 132; DONE;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = 232448; DONE;
    default: *value = 1024; DONE;
    }
}
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *device, int ordinal) {
    memset(device, 0, sizeof *device);
    strcpy(device->name, "no GPU");
    device->major = 9;
    device->totalGlobalMem = (size_t)80 << 30;
    device->multiProcessorCount = 132;
    device->warpSize = 32;
    device->maxThreadsPerBlock = 1024;
    device->maxThreadsPerMultiProcessor = 2048;
    device->sharedMemPerBlock = 49152;
    device->sharedMemPerBlockOptin = 232448;
    device->maxGridSize[0] = 2147483647;
    device->maxGridSize[1] = device->maxGridSize[2] = 65535;
    DONE;
}
cudaError_t cudaDeviceSynchronize() { DONE; }
cudaError_t cudaGetDriverEntryPointByVersion(const char *name, void **function, unsigned version,
                                             unsigned long long flags,
                                             enum cudaDriverEntryPointQueryResult *result) {
    *function = NULL;
    *result = cudaDriverEntryPointSymbolNotFound;
    DONE;
}
cudaError_t cudaGetLastError() { DONE; }
cudaError_t cudaPeekAtLastError() { DONE; }

/* Memory */

cudaError_t cudaMalloc(void **pointer, size_t size) { return take(pointer, size); }
cudaError_t cudaMallocHost(void **pointer, size_t size) { return take(pointer, size); }
cudaError_t cudaHostAlloc(void **pointer, size_t size, unsigned flags) { return take(pointer, size); }
cudaError_t cudaFree(void *pointer) { return drop(pointer); }
cudaError_t cudaFreeHost(void *pointer) { return drop(pointer); }
static cudaError_t copy(void *to, const void *from, size_t size, enum cudaMemcpyKind kind) {
    uploads += kind == cudaMemcpyHostToDevice;
    downloads += kind == cudaMemcpyDeviceToHost;
    memcpy(to, from, size);
    DONE;
}
cudaError_t cudaMemcpy(void *to, const void *from, size_t size, enum cudaMemcpyKind kind) {
    return capturing ? cudaErrorStreamCaptureUnsupported : copy(to, from, size, kind);
}
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t size, enum cudaMemcpyKind kind,
                            cudaStream_t stream) {
    return copy(to, from, size, kind);
}
cudaError_t cudaMemset(void *to, int value, size_t size) { memset(to, value, size); DONE; }
cudaError_t cudaMemsetAsync(void *to, int value, size_t size, cudaStream_t stream) {
    memset(to, value, size);
    DONE;
}
cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *about, const void *pointer) {
    memset(about, 0, sizeof *about);
    about->type = cudaMemoryTypeDevice;
    DONE;
}

/* Streams, events, graphs */

cudaError_t cudaStreamCreate(cudaStream_t *stream) { return handle((void **)stream); }
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags) {
    return handle((void **)stream);
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) { free(stream); DONE; }
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    return capturing ? cudaErrorStreamCaptureUnsupported : cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags) { DONE; }
cudaError_t cudaEventCreate(cudaEvent_t *event) { return handle((void **)event); }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags) {
    return handle((void **)event);
}
cudaError_t cudaEventDestroy(cudaEvent_t event) { free(event); DONE; }
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) { DONE; }
cudaError_t cudaEventSynchronize(cudaEvent_t event) { DONE; }

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode) {
    capturing = 1;
    captures++;
    DONE;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    capturing = 0;
    return handle((void **)graph);
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *status) {
    *status = capturing ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
    DONE;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *runs, cudaGraph_t graph, unsigned long long flags) {
    return handle((void **)runs);
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t runs, cudaStream_t stream) { replays++; DONE; }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t runs) { free(runs); DONE; }
cudaError_t cudaGraphDestroy(cudaGraph_t graph) { free(graph); DONE; }

/* Kernels */

#define LAUNCH { launches++; DONE; }
cudaError_t cudaLaunchKernel(const void *kernel, dim3 blocks, dim3 threads, void **arguments,
                             size_t shared, cudaStream_t stream) LAUNCH
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *how, const void *kernel, void **arguments) LAUNCH
cudaError_t cudaLaunchCooperativeKernel(const void *kernel, dim3 blocks, dim3 threads, void **arguments,
                                        size_t shared, cudaStream_t stream) LAUNCH
cudaError_t cudaFuncSetAttribute(const void *kernel, enum cudaFuncAttribute which, int value) { DONE; }
cudaError_t cudaFuncGetAttributes(struct cudaFuncAttributes *about, const void *kernel) {
    memset(about, 0, sizeof *about);
    about->maxThreadsPerBlock = 1024;
    DONE;
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, const void *kernel,
                                                                   int threads, size_t shared,
                                                                   unsigned flags) {
    *blocks = 2;
    DONE;
}

/* cuBLAS and cuDNN */

#define SUCCEEDS(name) int name() { return 0; }
#define MULTIPLIES(name) int name() { launches++; return 0; }
#define TEXT(name) const char *name() { return "no GPU"; }
#define MAKES(name) int name(void **made) { return handle(made); }
#define FREES(name) int name(void *made) { free(made); return 0; }

MAKES(cublasCreate_v2) FREES(cublasDestroy_v2) MAKES(cublasLtCreate) FREES(cublasLtDestroy)
MAKES(cublasLtMatmulDescCreate) FREES(cublasLtMatmulDescDestroy) SUCCEEDS(cublasLtMatmulDescSetAttribute)
MAKES(cublasLtMatmulPreferenceCreate) FREES(cublasLtMatmulPreferenceDestroy)
SUCCEEDS(cublasLtMatmulPreferenceSetAttribute) MAKES(cublasLtMatrixLayoutCreate)
FREES(cublasLtMatrixLayoutDestroy) SUCCEEDS(cublasLtMatrixLayoutSetAttribute)
MAKES(cublasLtMatrixTransformDescCreate) FREES(cublasLtMatrixTransformDescDestroy)
SUCCEEDS(cublasLtMatmulAlgoConfigSetAttribute) SUCCEEDS(cublasLtMatmulAlgoGetHeuristic)
SUCCEEDS(cublasLtMatmulAlgoInit) SUCCEEDS(cublasGetMathMode) SUCCEEDS(cublasSetMathMode)
SUCCEEDS(cublasSetStream_v2) TEXT(cublasGetStatusName) TEXT(cublasGetStatusString)
MULTIPLIES(cublasDgeam) MULTIPLIES(cublasDgemmBatched) MULTIPLIES(cublasDgemmStridedBatched)
MULTIPLIES(cublasDgemm_v2) MULTIPLIES(cublasDgetrfBatched) MULTIPLIES(cublasDgetriBatched)
MULTIPLIES(cublasGemmBatchedEx) MULTIPLIES(cublasGemmEx) MULTIPLIES(cublasGemmStridedBatchedEx)
MULTIPLIES(cublasLtMatmul) MULTIPLIES(cublasLtMatrixTransform) MULTIPLIES(cublasScopy_v2)
MULTIPLIES(cublasSgeam) MULTIPLIES(cublasSgemmBatched) MULTIPLIES(cublasSgemmStridedBatched)
MULTIPLIES(cublasSgemm_v2) MULTIPLIES(cublasSgetrfBatched) MULTIPLIES(cublasSgetriBatched)
MULTIPLIES(cublasSscal_v2)

MAKES(cudnnCreate) FREES(cudnnDestroy) SUCCEEDS(cudnnSetStream) TEXT(cudnnGetErrorString)
size_t cudnnGetVersion() { return 91300; }
size_t cudnnGetCudartVersion() { return 13000; }
void cudnnGetLastErrorString(char *text, size_t size) { if (size) *text = 0; }

#define DESCRIPTOR(kind) MAKES(cudnnCreate##kind##Descriptor) FREES(cudnnDestroy##kind##Descriptor)
DESCRIPTOR(Activation) DESCRIPTOR(Convolution) DESCRIPTOR(Dropout) DESCRIPTOR(Filter) DESCRIPTOR(LRN)
DESCRIPTOR(Pooling) DESCRIPTOR(RNN) DESCRIPTOR(RNNData) DESCRIPTOR(ReduceTensor) DESCRIPTOR(Tensor)
SUCCEEDS(cudnnDeriveBNTensorDescriptor) SUCCEEDS(cudnnDropoutGetStatesSize) SUCCEEDS(cudnnGetStream)
SUCCEEDS(cudnnFindConvolutionForwardAlgorithmEx) SUCCEEDS(cudnnGetConvolutionForwardAlgorithm_v7)
SUCCEEDS(cudnnGetConvolutionForwardWorkspaceSize) SUCCEEDS(cudnnGetRNNTempSpaceSizes)
SUCCEEDS(cudnnGetRNNWeightParams) SUCCEEDS(cudnnGetReductionIndicesSize)
SUCCEEDS(cudnnGetReductionWorkspaceSize) SUCCEEDS(cudnnGetTensorNdDescriptor)
SUCCEEDS(cudnnSetActivationDescriptor) SUCCEEDS(cudnnSetConvolutionGroupCount)
SUCCEEDS(cudnnSetConvolutionMathType) SUCCEEDS(cudnnSetConvolutionNdDescriptor)
SUCCEEDS(cudnnSetDropoutDescriptor) SUCCEEDS(cudnnSetFilterNdDescriptor) SUCCEEDS(cudnnSetLRNDescriptor)
SUCCEEDS(cudnnSetPoolingNdDescriptor) SUCCEEDS(cudnnSetRNNDataDescriptor)
SUCCEEDS(cudnnSetRNNDescriptor_v8) SUCCEEDS(cudnnSetReduceTensorDescriptor)
SUCCEEDS(cudnnSetTensorNdDescriptor)
MULTIPLIES(cudnnActivationForward) MULTIPLIES(cudnnAddTensor) MULTIPLIES(cudnnConvolutionForward)
MULTIPLIES(cudnnBatchNormalizationForwardInference) MULTIPLIES(cudnnBatchNormalizationForwardTraining)
MULTIPLIES(cudnnConvolutionBiasActivationForward) MULTIPLIES(cudnnLRNCrossChannelForward)
MULTIPLIES(cudnnPoolingForward) MULTIPLIES(cudnnRNNForward) MULTIPLIES(cudnnReduceTensor)
MULTIPLIES(cudnnSoftmaxForward)

/* A convolution is one plan that wants no room. */
int cudnnBackendCreateDescriptor(int kind, void **made) { return handle(made); }
FREES(cudnnBackendDestroyDescriptor)
SUCCEEDS(cudnnBackendSetAttribute) SUCCEEDS(cudnnBackendFinalize) MULTIPLIES(cudnnBackendExecute)
int cudnnBackendGetAttribute(void *of, int name, int type, long wanted, long *count, void *values) {
    enum { KNOB_CHOICES = 302, INT64 = 3, DESCRIPTOR = 15, INT32 = 23 };
    int has = name != KNOB_CHOICES && (type == INT64 || type == DESCRIPTOR || type == INT32);
    if (count) *count = has;
    if (values && type == INT64) *(long *)values = 0;
    if (values && type == INT32) *(int *)values = 0;
    return 0;
}
