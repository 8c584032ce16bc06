"""Ranks with a fault, planted from outside after the network was built."""

from __future__ import annotations

from typing import Any

from backends.replicas.rank import Replica
from shared_specs import Recipe


class Faulty(Replica):
    """`plant` names a method below; what it changes is this rank's model."""

    def plant(self, fault: str) -> None:
        getattr(self, f"_{fault}")(self.model)

    # ------------------------------------------------------------------------------------------------------- PyTorch

    def _no_synchronisation(self, model: Any) -> None:
        """As under `no_sync`."""
        model.parallel.require_backward_grad_sync = False

    def _sum_in_ddp(self, model: Any) -> None:
        import torch.distributed as dist

        def summed(state, bucket):  # PyTorch reads annotations here, and takes no strings
            work = dist.all_reduce(bucket.buffer(), async_op=True)
            return work.get_future().then(lambda future: future.value()[0])

        model.parallel.register_comm_hook(None, summed)

    def _own_loss(self, model: Any) -> None:
        model.mean = lambda loss: loss

    def _buffers_of_rank_0(self, model: Any) -> None:
        """What DistributedDataParallel does by default."""
        from torch.nn.parallel import DistributedDataParallel

        model.parallel = DistributedDataParallel(model.parallel.module, broadcast_buffers=True)

    def _other_optimizer(self, model: Any) -> None:
        """Rank 1 takes steps of another length."""
        if self.rank == 1:
            model.recipe = Recipe.named("sgd", learning_rate=0.011)  # by which `load_weights` makes it anew

    def synchronized_on_a_cpu(self, images: Any, labels: Any) -> None:
        """Past the check that says it cannot be."""
        from backends.pytorch.data_parallel import Replica as InPyTorch

        model = InPyTorch(self.model.spec, self.model.execution, Recipe(batch_statistics="global"))
        model.train_step(images, labels)

    # ----------------------------------------------------------------------------------------------------------- JAX

    def _sum_in_shard_map(self, model: Any) -> None:
        import jax

        from backends.jax_engine.data_parallel import AXIS

        model._means = lambda found: (jax.lax.psum(found[0], AXIS), found[1] / model.mesh.size)

    def _own_statistics(self, model: Any) -> None:
        """Where they are to be global, rank 1 goes another way."""
        import jax

        right = model.loss_and_gradients

        def wrong(images: Any, labels: Any) -> Any:
            result = right(images, labels)
            if self.rank == 1:
                name = next(iter(model.statistics))
                shifted = model.statistics[name].addressable_data(0) + 1e-3
                model.statistics[name] = jax.make_array_from_single_device_arrays(shifted.shape, model.whole, [shifted])
            return result

        model.loss_and_gradients = wrong
