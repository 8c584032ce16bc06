"""The conformance suite: what an author of a backend has to do next.

    pytest --pyargs backends.conformance --backend NAME

It needs Tandem with its extra `test`, and the backend installed, so that it is found by its entry point. The modules
are read in the order of their names, and each test is a step; a step that needs another one which failed is not
tried. What a backend does not declare is left out, with the reason. Importing this imports no pytest.
"""
