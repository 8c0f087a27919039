"""Rows and scores: conversion of what users give, exact rows, missing values, standardised scores."""
