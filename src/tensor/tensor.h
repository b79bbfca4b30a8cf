#pragma once
/// tensor: memory and shape.
///
///   view.h      View<T, Rank, Space> and Matrix<T, Space>: pointers with extents; nobody owns through them
///   queue.h     Queue<Space>: where an operation runs, and in which order
///   platform.h  the storage type and space that layers and everything above are templates over
///   arena.h     Arena<Space>: owned memory by purpose, handed out as a stack
///   dtype.h     element types by name and size
///   random.h    counter-based random numbers: f(seed, stream, tensor, index)
#include "tensor/arena.h"
#include "tensor/dtype.h"
#include "tensor/platform.h"
#include "tensor/queue.h"
#include "tensor/random.h"
#include "tensor/view.h"
