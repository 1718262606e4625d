import multiprocessing


def producer(queue, loader, number):
    loader.set_thread_id(number)
    while True:
        queue.put(next(loader))


class MultiThreadedAugmenter:
    """Processes that make batches ahead, taken from in turn."""

    def __init__(self, data_loader, transform, num_processes, num_cached_per_queue=2, seeds=None,
                 pin_memory=False, timeout=10, wait_time=0.02):  # fmt: skip
        assert transform is None
        assert len(seeds) == num_processes
        self.loader, self.count, self.cached = data_loader, num_processes, num_cached_per_queue
        self.queues, self.processes, self.taken = [], [], 0

    def __next__(self):
        if not self.processes:
            context = multiprocessing.get_context("fork")
            for number in range(self.count):
                self.queues.append(context.Queue(self.cached))
                arguments = (self.queues[-1], self.loader, number)
                self.processes.append(context.Process(target=producer, args=arguments, daemon=True))
                self.processes[-1].start()
        item = self.queues[self.taken % self.count].get()
        self.taken += 1
        return item

    def _finish(self):
        for process in self.processes:
            process.kill()
            process.join()
