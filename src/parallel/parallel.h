#pragma once
/// parallel: how work is split over the axes of the mesh.
///
///   axis           what is split over it                    forward            backward
///   tensor         heads, widths, vocabulary (dense)        all_gather in      reduce_scatter of dx
///                  and, between the blocks, tokens          reduce_scatter out all_gather of dy
///                  without sequence parallelism             all_reduce out     all_reduce of dx
///                  weights that every rank holds whole      -                  all_reduce of dw
///                  vocabulary in the loss                   all_reduce (max, sums)   -
///   expert         experts                                  all_to_all twice   all_to_all twice
///   expert_tensor  width of an expert                       all_gather in      reduce_scatter of dx
///                                                           reduce_scatter out all_gather of dy
///   expert_data    rows of an expert (its replicas); what   all_gather of w    reduce_scatter of dw
///   (experts)
///                  the optimizer keeps of it
///   data_context   what the optimizer keeps of dense weights  all_gather of w  reduce_scatter of dw
///   data           samples                                  sums of the loss   -
///   tensor_context tokens of a micro batch (router)         all_reduce of balance counts     -
///   world          the loss and the gradient's norm         all_reduce         -
///   context        pieces of each sample (attention)        messages round     messages round
///   pipeline       layers                                   messages on        messages back
///   ends           an embedding that is the head too        -                  all_reduce of dw
///
/// A dense weight's gradient is summed over data_context, and over tensor too where tensor ranks hold it
/// whole and see different tokens. An expert's gradient already holds the tokens of all ranks of its expert
/// and expert_tensor groups (dispatch brought them), so the sum over expert_data completes it: both are sums
/// over the whole batch, and are scaled once.
///
/// plan/traffic.h has the bytes that each axis carries in a step.
///
///   exchange.h           the collectives and messages, with their adjoints; back ends: one rank, MPI
///   pending.h            what was started and goes on while the rank computes
///   device/              the same for device memory: one rank, staged over MPI, NCCL (exchange_device.h)
///   host_sum.h           sums of a few numbers of the host
///   placement.h          which GPU a rank uses
///   sequence_parallel.h  tokens to and from the tensor axis
///   mpi_progress.h       messages move while ranks compute
///   token_exchange.h     tokens to and from the ranks of their experts, once each
///   pipeline/            what each pipeline stage computes and when: schedules as values, a simulator, and
///   what
///                        executes them
#include "parallel/exchange.h"
#include "parallel/exchange_mpi.h"
#include "parallel/host_sum.h"
#include "parallel/sequence_parallel.h"
#include "parallel/token_exchange.h"
